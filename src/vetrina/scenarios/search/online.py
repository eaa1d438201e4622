"""Answers search requests: words and meaning find candidates, a weighted sum of signals ranks them, trees correct it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context, History
from vetrina.core.types import Answer, Floats, Ints, RankedItem, Request
from vetrina.features import item_statistics
from vetrina.features.histories import Histories
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.retrieval.spelling import SpellingCorrector
from vetrina.retrieval.trees import Trees
from vetrina.scenarios.search.features import ranker_features

SIGNALS = ("bm25", "text", "words", "agreement", "popular", "personal", "fusion")
N_NON_PERSONAL_SIGNALS = 5  # the first of them say the same of every shopper
# Where nothing can be tuned: words and meaning decide, what sells orders like products. Picked by looking at a few weights on
# Chorus electronics (benchmarks/product_search.py), so a little flattering there.
DEFAULT_WEIGHTS = {
    "bm25": 1.0,
    "text": 4.0,
    "words": 2.0,
    "agreement": 1.0,
    "popular": 0.4,
    "personal": 0.3,
    "fusion": 2.0,
}
TREES_FILE = "trees/search.onnx"
BLEND_SCALE_FOR_TREES = 3.0  # trees learn what to add to this many times the weighted sum
_REASONS = (
    "holds the words you typed",
    "means what you asked for",
    "holds all the words you typed",
    "is like the best answers",
    "many shoppers take this now",
    "you take this often",
    "is like what you looked at",
)
_MAX_LEXICAL_CANDIDATES = 400
_MAX_FILTERED_CANDIDATES = 4_000
_MAX_DENSE_NEIGHBOURS = 200
_CENTROID_TOP_K = 10
_MAX_QUERY_CHARS = 512
_SHARE_TOLERANCE = 1e-4
_N_PROBE_PRODUCTS = 60  # products that a trial asks about
_UNSOLD_POPULARITY = 1e-3  # popularity up to this is only the order on the shelf
_BASE_WEIGHTS = np.array([DEFAULT_WEIGHTS[s] * (s != "agreement") for s in SIGNALS], np.float32)
N_RANKER_SIGNALS = 6  # what trees see of the signals
SortKey = tuple[float, float]


@dataclass(frozen=True)
class Candidates:
    """Products that may answer a query.

    ``items`` (n,), ``signals`` (n, SIGNALS) each between 0 and 1, ``bm25`` (n,) as it is, ``found`` (n, columns of
    ``product_words``), ``asked`` how many words the query has.
    """

    items: Ints
    signals: Floats
    bm25: Floats
    match_features: Floats
    n_query_words: int

    def take(self, rows: NDArray[np.bool_]) -> "Candidates":
        """Some of them."""
        return Candidates(
            self.items[rows], self.signals[rows], self.bm25[rows], self.match_features[rows], self.n_query_words
        )


class Searcher:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights = content["weights"]["search"]
        self.weights = np.array([weights.get(s, 0.0) for s in SIGNALS], np.float32)
        self.catalogue = CatalogueIndex(folder / "shelf")
        self.histories = Histories(folder / "histories")
        self._bm25 = plugins.load_module("models", "bm25", "online").load(folder / "bm25")
        self._text = plugins.load_module("models", "text", "online").load(folder / "text")
        self._spelling = SpellingCorrector(folder / "spelling.json", self._text.has_token)
        self._popular = plugins.load_module("models", "popular", "online").load(folder / "popular")
        self._fusion = (
            plugins.load_module("models", "fusion", "online").load(folder / "fusion") if self.weights[-1] else None
        )
        self._codes = self.catalogue.field_codes("category")[1], self.catalogue.field_codes("brand")[1]
        self._trees = Trees(folder / TREES_FILE) if (folder / TREES_FILE).exists() else None

    @cached_property
    def _statistics(self) -> Floats:
        """Only trees ask for them."""
        return item_statistics.read(self._folder / "statistics")

    def candidates(self, query: str, history: History, *, is_filtered: bool = False) -> Candidates:
        """What words and meaning find, and all that ranks it. A word that nobody knows is read as the one it is a slip of."""
        query = self._spelling.correct(query)
        words, bm25 = self._bm25.search(query, _MAX_FILTERED_CANDIDATES if is_filtered else _MAX_LEXICAL_CANDIDATES)
        vector = self._text.encode_query(query)
        # Products that share a text come all together: without a bound one text could be the whole page.
        meant = self._text.nearest(vector, _MAX_DENSE_NEIGHBOURS)[: 2 * _MAX_LEXICAL_CANDIDATES]
        items = np.union1d(words, meant).astype(np.int32)
        raw = np.zeros(len(items), np.float32)
        raw[np.searchsorted(items, words)] = bm25
        vectors = self._text.vectors(items)
        found = self._bm25.match_features(query, items)
        counts = np.zeros(len(self.catalogue), np.float32)
        counts[history.counts_items] = history.counts
        signals = np.zeros((len(items), len(SIGNALS)), np.float32)
        signals[:, 0] = raw / max(float(raw.max(initial=0.0)), 1e-9)
        signals[:, 1] = np.clip(vectors @ vector, 0.0, 1.0)
        signals[:, 2] = found[:, 0]
        signals[:, 4] = np.sqrt(np.sqrt(np.maximum(self._popular.score(history)[items] - _UNSOLD_POPULARITY, 0.0)))
        signals[:, 5] = counts[items] / (1.0 + counts[items])
        signals[:, 6] = 0.0 if self._fusion is None else self._fusion.score_items(history, items)
        signals[:, 3] = _centroid_similarity(vectors, signals @ _BASE_WEIGHTS)
        return Candidates(items, signals, raw, found, len(query.split()))

    def scores(self, candidates: Candidates) -> Floats:
        """(n,) larger is better."""
        weighed: Floats = candidates.signals @ self.weights
        if self._trees is None or not len(weighed):
            return weighed
        corrected = BLEND_SCALE_FOR_TREES * weighed + self._trees.score(self.ranker_features(candidates))
        return (corrected / BLEND_SCALE_FOR_TREES).astype(np.float32)

    def rank(self, query: str, now: float) -> Ints:
        """Products for a shopper nobody knows, best first."""
        return self.rank_with_scores(query, now)[0]

    def rank_with_scores(self, query: str, now: float, user: str | None = None) -> tuple[Ints, Floats]:
        """Products for a shopper, best first, with their scores."""
        candidates = self.candidates(query, self.histories.history_of(user, (), now))
        scores = self.scores(candidates)
        order = np.lexsort((candidates.items, -scores))
        return candidates.items[order], scores[order]

    def ranker_features(self, candidates: Candidates) -> Floats:
        """(n, columns) of what trees see."""
        codes = tuple(code[candidates.items] for code in self._codes)
        weighed = candidates.signals @ self.weights
        return ranker_features(
            candidates.signals[:, :N_RANKER_SIGNALS],
            weighed,
            candidates.bm25,
            candidates.match_features,
            self._statistics[candidates.items],
            codes, candidates.n_query_words,
        )  # fmt: skip

    def use_only_signal(self, signal: str) -> None:
        """One signal alone, as where it is judged."""
        self.weights = np.array([s == signal for s in SIGNALS], np.float32)
        self._trees = None

    def answer(self, request: Request, context: Context) -> Answer:
        """The best products from ``offset`` on, the number of all that matched, and facets if asked for."""
        query = request.query.strip()[:_MAX_QUERY_CHARS]
        if not query:
            raise BadInput("query ''", "is empty", "say what to search")
        query = self._spelling.correct(query)
        history = self._history(request, context)
        candidates = self.candidates(query, history, is_filtered=bool(request.filters or request.facets))
        changes = context.catalogue_delta.changes_after(self.catalogue.last_seq)
        visible = self._visible_mask(candidates, request, changes)
        wanted = request.offset + request.limit
        shown = candidates.take(visible)
        scores = self.scores(candidates)[visible]
        fresh = self._new_product_items(query, request, changes, shown, scores)
        found = [*self._ranked_items(shown, scores, request.sort, wanted), *fresh]
        page = [item for _, item in sorted(found, key=lambda f: f[0])[request.offset : wanted]]
        facets = self.catalogue.facets(shown.items, request.facets) if request.facets else {}
        return Answer(tuple(page), len(shown.items) + len(fresh), facets)

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        words = (
            self.catalogue.title(number % min(len(self.catalogue), _N_PROBE_PRODUCTS)).split()
            if len(self.catalogue)
            else []
        )
        self.answer(Request(query=words[0] if words else "a"), context)

    def _history(self, request: Request, context: Context) -> History:
        """What is known of the shopper, nothing if the answer must not be personal."""
        if not request.personalise:
            return self.histories.history_of(None, (), context.now)
        new = [
            *context.recent_events.for_user(
                request.user, request.session, self.histories.until, self.histories.last_seq
            )
        ]
        index = self.catalogue.index_of([e[0] for e in new])
        known = [(int(i), e[1], e[2]) for i, e in zip(index, new, strict=True) if i >= 0]
        return self.histories.history_of(request.user, known, context.now)

    def _visible_mask(self, candidates: Candidates, request: Request, changes: DeltaIndex) -> NDArray[np.bool_]:
        items = candidates.items
        hidden = self.catalogue.index_of([*changes.deleted_ids, *changes.changed_products])
        keep = ~np.isin(items, hidden)
        mask = self.catalogue.filter_mask(request.filters)
        if mask is not None:
            keep &= mask[items]
        if request.sort and (candidates.bm25[keep] > 0).any():
            keep &= candidates.bm25 > 0  # in another order than relevance, what merely means the like would come first
        return keep

    def _ranked_items(
        self, candidates: Candidates, scores: Floats, sort: str, limit: int
    ) -> list[tuple[SortKey, RankedItem]]:
        """The first ``wanted`` products of the bundle with what places them: smaller comes first."""
        items = candidates.items
        first = (
            _sort_values(self.catalogue.sort_key(sort.removeprefix("-"))[items], sort) if sort else np.zeros(len(items))
        )
        order = np.lexsort((items, -scores, first))[:limit]
        why = (candidates.signals[order] * self.weights).argmax(1)
        return [
            (
                (float(first[i]), -float(scores[i])),
                RankedItem(
                    self.catalogue.product_id(int(items[i])),
                    self.catalogue.title(int(items[i])),
                    float(scores[i]),
                    (_REASONS[why[at]],),
                ),
            )
            for at, i in enumerate(order)
        ]

    def _new_product_items(
        self, query: str, request: Request, changes: DeltaIndex, candidates: Candidates, scores: Floats
    ) -> list[tuple[SortKey, RankedItem]]:
        """Products that came or changed after the bundle was built, each where products that match as well usually stand."""
        found: list[tuple[SortKey, RankedItem]] = []
        for product, share in changes.search(query, request.filters):
            body = changes.changed_products[product]
            value = body.get(request.sort.removeprefix("-")) if request.sort else 0.0
            first = _sort_values(np.array([np.nan if value is None else value]), request.sort)[0]
            worth = _expected_score(candidates.signals[:, 2], scores, share)
            item = RankedItem(product, body["title"], worth, (_REASONS[2 if share == 1.0 else 0],))
            found.append(((float(first), -worth), item))
        return found


def _expected_score(word_shares: Floats, scores: Floats, share: float) -> float:
    """Median score of the products that hold at least this share of the query's words; above all others where none does."""
    alike = word_shares >= share - _SHARE_TOLERANCE
    if alike.any():
        return float(np.median(scores[alike]))
    return float(scores.max(initial=0.0)) + share


def _centroid_similarity(vectors: Floats, scores: Floats) -> Floats:
    """(n,) cosine with the mean of the best answers: what most of them are is more likely meant than what one of them is."""
    if not len(scores):
        return scores
    best = np.argsort(-scores, kind="stable")[:_CENTROID_TOP_K]
    centre = vectors[best].mean(0)
    return np.clip(vectors @ (centre / max(float(np.linalg.norm(centre)), 1e-9)), 0.0, 1.0)


def _sort_values(values: np.ndarray, sort: str) -> np.ndarray:
    """Numbers whose ascending order is the asked one; unknown values come last."""
    return np.nan_to_num(-values if sort.startswith("-") else values, nan=np.inf)


def load(folder: Path) -> Searcher:
    """Open a bundle's folder."""
    return Searcher(folder)
