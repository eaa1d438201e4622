"""Answers search requests: words and meaning find candidates, a weighted sum of four signals ranks them."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context, History
from vetrina.core.types import Answer, Floats, Ints, Item, Request
from vetrina.features.histories import Histories
from vetrina.retrieval.shelf import Shelf

SIGNALS = ("bm25", "text", "popular", "personal")
_REASONS = (
    "holds the words you typed",
    "means what you asked for",
    "many shoppers take this now",
    "you take this often",
)
_CANDIDATES, _CANDIDATES_FILTERED, _MEANING = 400, 4_000, 200
_LONGEST_QUERY = 512


class Search:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.weights = np.array([content["weights"]["search"][s] for s in SIGNALS], np.float32)
        self.shelf = Shelf(folder / "shelf")
        self.histories = Histories(folder / "histories")
        self._bm25 = plugins.part("models", "bm25", "online").open(folder / "bm25")
        self._text = plugins.part("models", "text", "online").open(folder / "text")
        self._popular = plugins.part("models", "popular", "online").open(folder / "popular")

    def signals(self, query: str, history: History, *, filtered: bool = False) -> tuple[Ints, Floats]:
        """Candidate items (n,) and their signals (n, 4), each between 0 and 1."""
        words, bm25 = self._bm25.search(query, _CANDIDATES_FILTERED if filtered else _CANDIDATES)
        meant, cosine = self._text.search(query, _MEANING)
        # Products that share a text come all together: without a bound one text could be the whole page.
        meant, cosine = meant[: 2 * _CANDIDATES], cosine[: 2 * _CANDIDATES]
        items = np.union1d(words, meant).astype(np.int32)
        found = np.zeros((len(items), len(SIGNALS)), np.float32)
        found[np.searchsorted(items, words), 0] = bm25 / max(float(bm25.max(initial=0.0)), 1e-9)
        found[np.searchsorted(items, meant), 1] = np.clip(cosine, 0.0, 1.0)
        found[:, 2] = np.sqrt(np.sqrt(self._popular.score(history)[items]))
        counts = np.zeros(len(self.shelf), np.float32)
        counts[history.counts_items] = history.counts
        found[:, 3] = counts[items] / (1.0 + counts[items])
        return items, found

    def answer(self, request: Request, context: Context) -> Answer:
        """The best products from ``offset`` on, the number of all that matched, and facets if asked for."""
        query = request.query.strip()
        if not query:
            raise BadInput("query ''", "is empty", "say what to search")
        user = request.user if request.personalise else None
        new = [*context.events.of(user, request.session)] if request.personalise else []
        index = self.shelf.index_of([e[0] for e in new])
        known = [(int(i), e[1], e[2]) for i, e in zip(index, new, strict=True) if i >= 0]
        history = self.histories.of(user, known, context.now)
        items, signals = self.signals(query[:_LONGEST_QUERY], history, filtered=bool(request.filters or request.facets))
        items, signals = self._visible(items, signals, request, context)
        scores = signals @ self.weights
        order = self._order(items, scores, request.sort)
        reason = (signals * self.weights).argmax(1)
        rows = [
            Item(
                str(self.shelf.ids[items[i]]),
                self.shelf.title(int(items[i])),
                float(scores[i]),
                (_REASONS[reason[i]],),
            )
            for i in order[: request.offset + request.limit]
        ]
        fresh = [] if request.sort or request.filters else self._fresh(query, request, context)
        merged = sorted([*rows, *fresh], key=lambda item: -item.score) if fresh else rows
        facets = self.shelf.facets(items, request.facets) if request.facets else {}
        page = merged[request.offset : request.offset + request.limit]
        return Answer(tuple(page), len(items) + len(fresh), facets)

    def _visible(self, items: Ints, signals: Floats, request: Request, context: Context) -> tuple[Ints, Floats]:
        hidden = self.shelf.index_of([*context.products.deleted(), *context.products.changed()])
        keep = ~np.isin(items, hidden)
        mask = self.shelf.mask(request.filters)
        if mask is not None:
            keep &= mask[items]
        return items[keep], signals[keep]

    def _order(self, items: Ints, scores: Floats, sort: str) -> np.ndarray:
        if not sort:
            return np.lexsort((items, -scores))
        key = self.shelf.sort_key(sort.removeprefix("-"))[items]
        return np.lexsort((-scores, -key if sort.startswith("-") else key))

    def _fresh(self, query: str, request: Request, context: Context) -> list[Item]:
        """Products that came or changed after the bundle was built; all words found is worth the best match."""
        hits = context.products.search(query, request.offset + request.limit)
        worth = float(self.weights[0]) or 1.0
        return [Item(product, title, worth * share, (_REASONS[0],)) for product, title, share in hits]


def open(folder: Path) -> Search:
    """Open a bundle's folder."""
    return Search(folder)
