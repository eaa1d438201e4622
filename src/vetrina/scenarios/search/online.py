"""Search at serving time: lexical and dense candidates, a weighted sum of signals, LambdaMART correction.

BM25 and text embeddings retrieve candidates, a weighted sum of signals ranks them, and LambdaMART trees, if there are any, add a
correction to the sum. Training, tuning and evaluation use the same code. No training library is imported here.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.bundle.spelling.read import SpellingCorrector
from vetrina.bundle.tree_ensemble.read import Trees
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.errors import BadInput
from vetrina.core.filters import NO_FILTERS
from vetrina.core.protocols import Context, History
from vetrina.core.types import Answer, Floats, Ints, RankedItem, Request
from vetrina.features import item_statistics
from vetrina.features.histories import Histories
from vetrina.models.base import find_model
from vetrina.scenarios.base import RankingBundle
from vetrina.scenarios.search.features import ranker_features

SIGNALS = ("bm25", "text", "words", "agreement", "popular", "personal", "fusion")
N_NON_PERSONAL_SIGNALS = 5  # the first of SIGNALS, which are the same for every user
# Used where there are too few judged queries to tune on: text match decides, popularity orders similar products. Chosen among a
# few weights on Chorus electronics (benchmarks/product_search.py), so the result there is slightly optimistic.
DEFAULT_WEIGHTS = {
    "bm25": 1.0,
    "text": 4.0,
    "words": 2.0,
    "agreement": 1.0,
    "popular": 0.4,
    "personal": 0.3,
    "fusion": 2.0,
}
# Signals that only one model can give; a bundle without the model has no weight for them.
MODEL_OF_SIGNAL = {"text": "text", "agreement": "text", "fusion": "fusion"}
TREES_FILE = "trees/search.onnx"
BLEND_SCALE_FOR_TREES = 3.0  # trees are trained to correct this many times the weighted sum
_REASONS = (  # shown to users, one a signal
    "contains words of your query",
    "is similar in meaning to your query",
    "contains all words of your query",
    "is similar to the best results",
    "is popular now",
    "you often buy or view this",
    "is similar to what you viewed",
)
_MAX_LEXICAL_CANDIDATES = 400
_MAX_FILTERED_CANDIDATES = 4_000  # lexical candidates where filters or facets apply
_MAX_DENSE_NEIGHBOURS = 200
_MAX_DENSE_CANDIDATES = 2 * _MAX_LEXICAL_CANDIDATES
_CENTROID_TOP_K = 10  # best candidates whose mean embedding is the centroid
_MAX_QUERY_CHARS = 512
_SHARE_TOLERANCE = 1e-4  # for comparing shares of a query's words
_N_PROBE_PRODUCTS = 60  # distinct products in the requests of a probe
_UNSOLD_POPULARITY = 1e-3  # popularity up to this is only the order of the catalogue
_BASE_WEIGHTS = np.array([DEFAULT_WEIGHTS[signal] * (signal != "agreement") for signal in SIGNALS], np.float32)
N_RANKER_SIGNALS = 6  # the first of SIGNALS, which are features of the trees
SortKey = tuple[float, float]  # sort value, minus the score: smaller comes first


@dataclass(frozen=True)
class Candidates:
    """Products that may answer a query.

    ``items`` (n,), ``signals`` (n, SIGNALS) each between 0 and 1, ``bm25`` (n,) not normalised, ``match_features`` (n, columns
    of ``bundle.term_vectors``), ``n_query_words`` number of words of the query.
    """

    items: Ints
    signals: Floats
    bm25: Floats
    match_features: Floats
    n_query_words: int

    def take(self, rows: NDArray[np.bool_]) -> "Candidates":
        """The candidates where ``rows`` (n,) is True."""
        return Candidates(
            self.items[rows], self.signals[rows], self.bm25[rows], self.match_features[rows], self.n_query_words
        )


class _NoTextModel:
    """Takes the place of the text model in a bundle without one: no candidate, no similarity."""

    def has_token(self, word: str) -> bool:
        """No word is known."""
        return False

    def encode_query(self, query: str) -> Floats:
        """(1,) zero."""
        return np.zeros(1, np.float32)

    def nearest(self, query_vector: Floats, k: int) -> Ints:
        """No item."""
        return np.zeros(0, np.int32)

    def vectors(self, items: Ints) -> Floats:
        """(n, 1) zeros."""
        return np.zeros((len(items), 1), np.float32)


class Searcher(RankingBundle):
    """A loaded bundle. ``weights`` (SIGNALS,) are those of the weighted sum."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights = content["weights"]["search"]
        self.weights = np.array([weights.get(signal, 0.0) for signal in SIGNALS], np.float32)
        self.catalogue = CatalogueIndex(folder / "catalogue")
        self.histories = Histories(folder / "histories")
        self._bm25 = find_model("bm25").load(folder / "bm25")
        self._text: Any = _NoTextModel()
        if "text" in content["models"]:
            self._text = find_model("text").load(folder / "text")
        self._spelling = SpellingCorrector(folder / "spelling.json", self._text.has_token)
        self._popular = find_model("popular").load(folder / "popular")
        self._fusion = None
        if self.weights[-1] and "fusion" in content["models"]:
            self._fusion = find_model("fusion").load(folder / "fusion")
        category_codes = self.catalogue.field_codes("category")[1]
        brand_codes = self.catalogue.field_codes("brand")[1]
        self._codes = category_codes, brand_codes
        self._trees = None
        if (folder / TREES_FILE).exists():
            self._trees = Trees(folder / TREES_FILE)

    @cached_property
    def _statistics(self) -> Floats:
        """(items, statistics); read when the trees need them."""
        return item_statistics.read(self._folder / "statistics")

    def correct(self, query: str) -> str:
        """The query with its typos corrected."""
        return self._spelling.correct(query)

    def candidates(self, query: str, history: History, *, is_filtered: bool = False) -> Candidates:
        """Lexical and dense candidates with their signals.

        Args:
            query: the text of the user, as ``correct`` returns it.
            history: the user's interactions.
            is_filtered: whether filters or facets apply, which needs more lexical candidates.
        """
        max_lexical = _MAX_FILTERED_CANDIDATES if is_filtered else _MAX_LEXICAL_CANDIDATES
        lexical_items, lexical_scores = self._bm25.search(query, max_lexical)
        query_vector = self._text.encode_query(query)
        # All products with the same text are retrieved together: without a bound one text could fill the whole page.
        dense_items = self._text.nearest(query_vector, _MAX_DENSE_NEIGHBOURS)[:_MAX_DENSE_CANDIDATES]
        items = np.union1d(lexical_items, dense_items).astype(np.int32)
        bm25 = np.zeros(len(items), np.float32)
        bm25[np.searchsorted(items, lexical_items)] = lexical_scores
        vectors = self._text.vectors(items)
        match_features = self._bm25.match_features(query, items)
        user_counts = np.zeros(len(self.catalogue), np.float32)
        user_counts[history.counts_items] = history.counts
        counts = user_counts[items]
        popularity = self._popular.score(history)[items] - _UNSOLD_POPULARITY
        signals = np.zeros((len(items), len(SIGNALS)), np.float32)
        signals[:, 0] = bm25 / max(float(bm25.max(initial=0.0)), 1e-9)
        signals[:, 1] = np.clip(vectors @ query_vector, 0.0, 1.0)
        signals[:, 2] = match_features[:, 0]
        signals[:, 4] = np.sqrt(np.sqrt(np.maximum(popularity, 0.0)))
        signals[:, 5] = counts / (1.0 + counts)
        if self._fusion is not None:
            signals[:, 6] = self._fusion.score_items(history, items)
        signals[:, 3] = _centroid_similarity(vectors, signals @ _BASE_WEIGHTS)
        return Candidates(items, signals, bm25, match_features, len(query.split()))

    def scores(self, candidates: Candidates) -> Floats:
        """(n,) weighted sums of the signals, corrected by the trees if there are any; larger is better."""
        weighted_sum: Floats = candidates.signals @ self.weights
        if self._trees is None or not len(weighted_sum):
            return weighted_sum
        correction = self._trees.score(self.ranker_features(candidates))
        corrected = BLEND_SCALE_FOR_TREES * weighted_sum + correction
        return (corrected / BLEND_SCALE_FOR_TREES).astype(np.float32)

    def rank(self, query: str, now: float) -> Ints:
        """Items for an anonymous visitor, best first."""
        return self.rank_with_scores(query, now)[0]

    def rank_with_scores(self, query: str, now: float, user: str | None = None) -> tuple[Ints, Floats]:
        """Items and their scores, best first.

        Args:
            query: the text of the user.
            now: seconds since 1970.
            user: pseudonym of the user, None for an anonymous visitor.
        """
        history = self.histories.history_of(user, (), now)
        candidates = self.candidates(self.correct(query), history)
        scores = self.scores(candidates)
        order = np.lexsort((candidates.items, -scores))
        return candidates.items[order], scores[order]

    def ranker_features(self, candidates: Candidates) -> Floats:
        """(n, columns) float32 features of candidates for the trees, see ``features.feature_names``."""
        items = candidates.items
        return ranker_features(
            candidates.signals[:, :N_RANKER_SIGNALS],
            candidates.signals @ self.weights,
            candidates.bm25,
            candidates.match_features,
            self._statistics[items],
            tuple(codes[items] for codes in self._codes),
            candidates.n_query_words,
        )

    def use_only_signal(self, signal: str) -> None:
        """Rank by one signal without trees, to evaluate a single model."""
        self.weights = np.array([name == signal for name in SIGNALS], np.float32)
        self._trees = None

    def answer(self, request: Request, context: Context) -> Answer:
        """The best products from ``offset`` on, the number of all that match, and the requested facets.

        Raises:
            BadInput: the query is empty, or a filter, facet or sort order is unknown.
        """
        query = request.query.strip()[:_MAX_QUERY_CHARS]
        if not query:
            raise BadInput("query ''", "is empty", "say what to search")
        query = self.correct(query)
        history = self._history(request, context)
        is_filtered = bool(request.filters != NO_FILTERS or request.facets)
        candidates = self.candidates(query, history, is_filtered=is_filtered)
        delta = context.catalogue_delta.changes_after(self.catalogue.last_seq)
        is_visible = self._visible_mask(candidates, request, delta)
        visible = candidates.take(is_visible)
        scores = self.scores(candidates)[is_visible]
        end = request.offset + request.limit
        new_items = self._new_product_items(query, request, delta, visible, scores)
        ranked = [*self._ranked_items(visible, scores, request.sort, end), *new_items]
        ranked.sort(key=lambda pair: pair[0])
        page = tuple(item for _, item in ranked[request.offset : end])
        facets = {}
        if request.facets:
            facets = self.catalogue.facets(visible.items, request.facets)
        return Answer(page, len(visible.items) + len(new_items), facets)

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe: the first word of a product's title."""
        words = []
        if len(self.catalogue):
            item = number % min(len(self.catalogue), _N_PROBE_PRODUCTS)
            words = self.catalogue.title(item).split()
        query = words[0] if words else "a"
        self.answer(Request(query=query), context)

    def _history(self, request: Request, context: Context) -> History:
        """The user's interactions, none if the answer must not be personalised."""
        if not request.personalise:
            return self.histories.history_of(None, (), context.now)
        recent = list(
            context.recent_events.for_user(request.user, request.session, self.histories.until, self.histories.last_seq)
        )
        index = self.catalogue.index_of([product_id for product_id, _, _ in recent])
        events = [(int(i), time, weight) for i, (_, time, weight) in zip(index, recent, strict=True) if i >= 0]
        return self.histories.history_of(request.user, events, context.now)

    def _visible_mask(self, candidates: Candidates, request: Request, delta: DeltaIndex) -> NDArray[np.bool_]:
        """(n,) bool: matches the filters, and was not deleted or changed after training."""
        items = candidates.items
        replaced = self.catalogue.index_of([*delta.deleted_ids, *delta.changed_products])
        is_visible = ~np.isin(items, replaced)
        mask = self.catalogue.filter_mask(request.filters)
        if mask is not None:
            is_visible &= mask[items]
        if request.sort and (candidates.bm25[is_visible] > 0).any():
            # Sorted by price, a product that is only similar in meaning would come before those that contain the words.
            is_visible &= candidates.bm25 > 0
        return is_visible

    def _ranked_items(
        self, candidates: Candidates, scores: Floats, sort: str, limit: int
    ) -> list[tuple[SortKey, RankedItem]]:
        """The first ``limit`` products of the bundle, each with its sort key.

        Args:
            candidates: the visible candidates.
            scores: (n,) of the candidates.
            sort: a field of the catalogue, with "-" in front for descending order; empty for relevance.
            limit: how many products.
        """
        items = candidates.items
        sort_values = np.zeros(len(items))
        if sort:
            field = sort.removeprefix("-")
            sort_values = _sort_values(self.catalogue.sort_key(field)[items], sort)
        order = np.lexsort((items, -scores, sort_values))[:limit]
        main_signals = (candidates.signals[order] * self.weights).argmax(1)
        ranked = []
        for row, main_signal in zip(order, main_signals, strict=True):
            item = int(items[row])
            score = float(scores[row])
            reasons = (_REASONS[main_signal],)
            ranked_item = RankedItem(self.catalogue.product_id(item), self.catalogue.title(item), score, reasons)
            ranked.append(((float(sort_values[row]), -score), ranked_item))
        return ranked

    def _new_product_items(
        self, query: str, request: Request, delta: DeltaIndex, candidates: Candidates, scores: Floats
    ) -> list[tuple[SortKey, RankedItem]]:
        """Products that were put or changed after training, each with a sort key.

        A new product has no signals; its score is the usual one of the products that contain as many of the query's words.

        Args:
            query: the corrected query.
            request: its filters and sort order apply.
            delta: changes of the catalogue after training.
            candidates: the visible candidates of the bundle.
            scores: (n,) of the candidates.
        """
        ranked: list[tuple[SortKey, RankedItem]] = []
        for product_id, word_share in delta.search(query, request.filters):
            product = delta.changed_products[product_id]
            value = 0.0
            if request.sort:
                value = product.get(request.sort.removeprefix("-"))
            if value is None:
                value = np.nan
            sort_value = float(_sort_values(np.array([value]), request.sort)[0])
            score = _expected_score(candidates.signals[:, 2], scores, word_share)
            reason = _REASONS[2] if word_share == 1.0 else _REASONS[0]
            ranked.append(((sort_value, -score), RankedItem(product_id, product["title"], score, (reason,))))
        return ranked


def _expected_score(word_shares: Floats, scores: Floats, word_share: float) -> float:
    """Median score of the products with at least this share of the query's words; above all scores where there are none."""
    is_similar = word_shares >= word_share - _SHARE_TOLERANCE
    if is_similar.any():
        return float(np.median(scores[is_similar]))
    return float(scores.max(initial=0.0)) + word_share


def _centroid_similarity(vectors: Floats, scores: Floats) -> Floats:
    """(n,) cosine with the mean of the best candidates: what most of them are is more likely meant than what one of them is."""
    if not len(scores):
        return scores
    best = np.argsort(-scores, kind="stable")[:_CENTROID_TOP_K]
    centroid = vectors[best].mean(0)
    unit_centroid = centroid / max(float(np.linalg.norm(centroid)), 1e-9)
    return np.clip(vectors @ unit_centroid, 0.0, 1.0)


def _sort_values(values: np.ndarray, sort: str) -> np.ndarray:
    """Numbers whose ascending order is the requested one; missing values come last."""
    signed = -values if sort.startswith("-") else values
    return np.nan_to_num(signed, nan=np.inf)
