"""Answers search requests: words and meaning find candidates, a weighted sum of signals ranks them, trees correct it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.delta import Delta
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context, History
from vetrina.core.types import Answer, Floats, Ints, Item, Request
from vetrina.features import item_statistics
from vetrina.features.histories import Histories
from vetrina.retrieval.shelf import Shelf
from vetrina.retrieval.spelling import Spelling
from vetrina.retrieval.trees import Trees
from vetrina.scenarios.search.features import features

SIGNALS = ("bm25", "text", "words", "agreement", "popular", "personal", "fusion")
IMPERSONAL = 5  # the first of them say the same of every shopper
# Where nothing can be tuned: words and meaning decide, what sells orders like products. Picked by looking at a few weights on
# Chorus electronics (benchmarks/product_search.py), so a little flattering there.
DEFAULT = {"bm25": 1.0, "text": 4.0, "words": 2.0, "agreement": 1.0, "popular": 0.4, "personal": 0.3, "fusion": 2.0}
TREES = "trees/search.onnx"
TREES_SCALE = 3.0  # trees learn what to add to this many times the weighted sum
_REASONS = (
    "holds the words you typed",
    "means what you asked for",
    "holds all the words you typed",
    "is like the best answers",
    "many shoppers take this now",
    "you take this often",
    "is like what you looked at",
)
_CANDIDATES, _CANDIDATES_FILTERED, _MEANING, _AGREEING = 400, 4_000, 200, 10
_LONGEST_QUERY = 512
_CLOSE = 1e-4
_TRIED = 60  # products that a trial asks about
_UNSOLD = 1e-3  # popularity up to this is only the order on the shelf
_BASE = np.array([DEFAULT[s] * (s != "agreement") for s in SIGNALS], np.float32)
RANKED = 6  # what trees see of the signals
Place = tuple[float, float]


@dataclass(frozen=True)
class Candidates:
    """Products that may answer a query.

    ``items`` (n,), ``signals`` (n, SIGNALS) each between 0 and 1, ``bm25`` (n,) as it is, ``found`` (n, columns of
    ``product_words``), ``asked`` how many words the query has.
    """

    items: Ints
    signals: Floats
    bm25: Floats
    found: Floats
    asked: int

    def take(self, rows: NDArray[np.bool_]) -> "Candidates":
        """Some of them."""
        return Candidates(self.items[rows], self.signals[rows], self.bm25[rows], self.found[rows], self.asked)


class Search:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights = content["weights"]["search"]
        self.weights = np.array([weights.get(s, 0.0) for s in SIGNALS], np.float32)
        self.shelf = Shelf(folder / "shelf")
        self.histories = Histories(folder / "histories")
        self._bm25 = plugins.part("models", "bm25", "online").open(folder / "bm25")
        self._text = plugins.part("models", "text", "online").open(folder / "text")
        self._spelling = Spelling(folder / "spelling.json", self._text.knows)
        self._popular = plugins.part("models", "popular", "online").open(folder / "popular")
        self._fusion = plugins.part("models", "fusion", "online").open(folder / "fusion") if self.weights[-1] else None
        self._codes = self.shelf.coded("category")[1], self.shelf.coded("brand")[1]
        self._trees = Trees(folder / TREES) if (folder / TREES).exists() else None

    @cached_property
    def _statistics(self) -> Floats:
        """Only trees ask for them."""
        return item_statistics.read(self._folder / "statistics")

    def candidates(self, query: str, history: History, *, filtered: bool = False) -> Candidates:
        """What words and meaning find, and all that ranks it. A word that nobody knows is read as the one it is a slip of."""
        query = self._spelling.mended(query)
        words, bm25 = self._bm25.search(query, _CANDIDATES_FILTERED if filtered else _CANDIDATES)
        vector = self._text.encode(query)
        # Products that share a text come all together: without a bound one text could be the whole page.
        meant = self._text.nearest(vector, _MEANING)[: 2 * _CANDIDATES]
        items = np.union1d(words, meant).astype(np.int32)
        raw = np.zeros(len(items), np.float32)
        raw[np.searchsorted(items, words)] = bm25
        vectors, found = self._text.vectors(items), self._bm25.found(query, items)
        counts = np.zeros(len(self.shelf), np.float32)
        counts[history.counts_items] = history.counts
        signals = np.zeros((len(items), len(SIGNALS)), np.float32)
        signals[:, 0] = raw / max(float(raw.max(initial=0.0)), 1e-9)
        signals[:, 1] = np.clip(vectors @ vector, 0.0, 1.0)
        signals[:, 2] = found[:, 0]
        signals[:, 4] = np.sqrt(np.sqrt(np.maximum(self._popular.score(history)[items] - _UNSOLD, 0.0)))
        signals[:, 5] = counts[items] / (1.0 + counts[items])
        signals[:, 6] = 0.0 if self._fusion is None else self._fusion.score_of(history, items)
        signals[:, 3] = _agreement(vectors, signals @ _BASE)
        return Candidates(items, signals, raw, found, len(query.split()))

    def scores(self, candidates: Candidates) -> Floats:
        """(n,) larger is better."""
        weighed: Floats = candidates.signals @ self.weights
        if self._trees is None or not len(weighed):
            return weighed
        corrected = TREES_SCALE * weighed + self._trees.score(self.features(candidates))
        return (corrected / TREES_SCALE).astype(np.float32)

    def ranked(self, query: str, now: float) -> Ints:
        """Products for a shopper nobody knows, best first."""
        return self.scored(query, now)[0]

    def scored(self, query: str, now: float, user: str | None = None) -> tuple[Ints, Floats]:
        """Products for a shopper, best first, with their scores."""
        candidates = self.candidates(query, self.histories.of(user, (), now))
        scores = self.scores(candidates)
        order = np.lexsort((candidates.items, -scores))
        return candidates.items[order], scores[order]

    def features(self, candidates: Candidates) -> Floats:
        """(n, columns) of what trees see."""
        codes = tuple(code[candidates.items] for code in self._codes)
        weighed = candidates.signals @ self.weights
        return features(
            candidates.signals[:, :RANKED], weighed, candidates.bm25, candidates.found, self._statistics[candidates.items],
            codes, candidates.asked,
        )  # fmt: skip

    def weigh(self, only: str) -> None:
        """One signal alone, as where it is judged."""
        self.weights, self._trees = np.array([s == only for s in SIGNALS], np.float32), None

    def answer(self, request: Request, context: Context) -> Answer:
        """The best products from ``offset`` on, the number of all that matched, and facets if asked for."""
        query = request.query.strip()[:_LONGEST_QUERY]
        if not query:
            raise BadInput("query ''", "is empty", "say what to search")
        query = self._spelling.mended(query)
        history = self._history(request, context)
        candidates = self.candidates(query, history, filtered=bool(request.filters or request.facets))
        changes = context.products.after(self.shelf.logged)
        visible, wanted = self._visible(candidates, request, changes), request.offset + request.limit
        shown, scores = candidates.take(visible), self.scores(candidates)[visible]
        fresh = self._fresh(query, request, changes, shown, scores)
        found = [*self._ranked(shown, scores, request.sort, wanted), *fresh]
        page = [item for _, item in sorted(found, key=lambda f: f[0])[request.offset : wanted]]
        facets = self.shelf.facets(shown.items, request.facets) if request.facets else {}
        return Answer(tuple(page), len(shown.items) + len(fresh), facets)

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        words = self.shelf.title(number % min(len(self.shelf), _TRIED)).split() if len(self.shelf) else []
        self.answer(Request(query=words[0] if words else "a"), context)

    def _history(self, request: Request, context: Context) -> History:
        """What is known of the shopper, nothing if the answer must not be personal."""
        if not request.personalise:
            return self.histories.of(None, (), context.now)
        new = [*context.events.of(request.user, request.session, self.histories.until, self.histories.logged)]
        index = self.shelf.index_of([e[0] for e in new])
        known = [(int(i), e[1], e[2]) for i, e in zip(index, new, strict=True) if i >= 0]
        return self.histories.of(request.user, known, context.now)

    def _visible(self, candidates: Candidates, request: Request, changes: Delta) -> NDArray[np.bool_]:
        items, hidden = candidates.items, self.shelf.index_of([*changes.deleted, *changes.changed])
        keep = ~np.isin(items, hidden)
        mask = self.shelf.mask(request.filters)
        if mask is not None:
            keep &= mask[items]
        if request.sort and (candidates.bm25[keep] > 0).any():
            keep &= candidates.bm25 > 0  # in another order than relevance, what merely means the like would come first
        return keep

    def _ranked(self, shown: Candidates, scores: Floats, sort: str, wanted: int) -> list[tuple[Place, Item]]:
        """The first ``wanted`` products of the bundle with what places them: smaller comes first."""
        items = shown.items
        first = _place(self.shelf.sort_key(sort.removeprefix("-"))[items], sort) if sort else np.zeros(len(items))
        order = np.lexsort((items, -scores, first))[:wanted]
        why = (shown.signals[order] * self.weights).argmax(1)
        return [
            (
                (float(first[i]), -float(scores[i])),
                Item(
                    self.shelf.id(int(items[i])),
                    self.shelf.title(int(items[i])),
                    float(scores[i]),
                    (_REASONS[why[at]],),
                ),
            )
            for at, i in enumerate(order)
        ]

    def _fresh(
        self, query: str, request: Request, changes: Delta, shown: Candidates, scores: Floats
    ) -> list[tuple[Place, Item]]:
        """Products that came or changed after the bundle was built, each where products that match as well usually stand."""
        found: list[tuple[Place, Item]] = []
        for product, share in changes.search(query, request.filters):
            body = changes.changed[product]
            value = body.get(request.sort.removeprefix("-")) if request.sort else 0.0
            first = _place(np.array([np.nan if value is None else value]), request.sort)[0]
            worth = _usual(shown.signals[:, 2], scores, share)
            item = Item(product, body["title"], worth, (_REASONS[2 if share == 1.0 else 0],))
            found.append(((float(first), -worth), item))
        return found


def _usual(words: Floats, scores: Floats, share: float) -> float:
    """Median score of the products that hold at least this share of the query's words; above all others where none does."""
    alike = words >= share - _CLOSE
    if alike.any():
        return float(np.median(scores[alike]))
    return float(scores.max(initial=0.0)) + share


def _agreement(vectors: Floats, scores: Floats) -> Floats:
    """(n,) cosine with the mean of the best answers: what most of them are is more likely meant than what one of them is."""
    if not len(scores):
        return scores
    best = np.argsort(-scores, kind="stable")[:_AGREEING]
    centre = vectors[best].mean(0)
    return np.clip(vectors @ (centre / max(float(np.linalg.norm(centre)), 1e-9)), 0.0, 1.0)


def _place(values: np.ndarray, sort: str) -> np.ndarray:
    """Numbers whose ascending order is the asked one; unknown values come last."""
    return np.nan_to_num(-values if sort.startswith("-") else values, nan=np.inf)


def open(folder: Path) -> Search:
    """Open a bundle's folder."""
    return Search(folder)
