"""Answers search requests: words and meaning find candidates, a weighted sum of four signals ranks them."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.delta import Delta
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
Place = tuple[float, float]


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
        vector = self._text.encode(query)
        # Products that share a text come all together: without a bound one text could be the whole page.
        meant = self._text.nearest(vector, _MEANING)[: 2 * _CANDIDATES]
        items = np.union1d(words, meant).astype(np.int32)
        found = np.zeros((len(items), len(SIGNALS)), np.float32)
        found[np.searchsorted(items, words), 0] = bm25 / max(float(bm25.max(initial=0.0)), 1e-9)
        found[:, 1] = np.clip(self._text.cosine(vector, items), 0.0, 1.0)
        found[:, 2] = np.sqrt(np.sqrt(self._popular.score(history)[items]))
        counts = np.zeros(len(self.shelf), np.float32)
        counts[history.counts_items] = history.counts
        found[:, 3] = counts[items] / (1.0 + counts[items])
        return items, found

    def answer(self, request: Request, context: Context) -> Answer:
        """The best products from ``offset`` on, the number of all that matched, and facets if asked for."""
        query = request.query.strip()[:_LONGEST_QUERY]
        if not query:
            raise BadInput("query ''", "is empty", "say what to search")
        history = self._history(request, context)
        items, signals = self.signals(query, history, filtered=bool(request.filters or request.facets))
        changes = context.products.after(self.shelf.logged)
        items, signals = self._visible(items, signals, request, changes)
        wanted = request.offset + request.limit
        found = [*self._ranked(items, signals, request.sort, wanted), *self._fresh(query, request, changes)]
        page = [item for _, item in sorted(found, key=lambda f: f[0])[request.offset : wanted]]
        facets = self.shelf.facets(items, request.facets) if request.facets else {}
        return Answer(tuple(page), len(items) + len(found) - min(wanted, len(items)), facets)

    def _history(self, request: Request, context: Context) -> History:
        """What is known of the shopper, nothing if the answer must not be personal."""
        if not request.personalise:
            return self.histories.of(None, (), context.now)
        new = [*context.events.of(request.user, request.session, self.histories.until, self.histories.logged)]
        index = self.shelf.index_of([e[0] for e in new])
        known = [(int(i), e[1], e[2]) for i, e in zip(index, new, strict=True) if i >= 0]
        return self.histories.of(request.user, known, context.now)

    def _visible(self, items: Ints, signals: Floats, request: Request, changes: Delta) -> tuple[Ints, Floats]:
        hidden = self.shelf.index_of([*changes.deleted, *changes.changed])
        keep = ~np.isin(items, hidden)
        mask = self.shelf.mask(request.filters)
        if mask is not None:
            keep &= mask[items]
        if request.sort and (signals[keep, 0] > 0).any():
            keep &= signals[:, 0] > 0  # in another order than relevance, what merely means the like would come first
        return items[keep], signals[keep]

    def _ranked(self, items: Ints, signals: Floats, sort: str, wanted: int) -> list[tuple[Place, Item]]:
        """The first ``wanted`` products of the bundle with what places them: smaller comes first."""
        scores = signals @ self.weights
        first = _place(self.shelf.sort_key(sort.removeprefix("-"))[items], sort) if sort else np.zeros(len(items))
        order = np.lexsort((items, -scores, first))[:wanted]
        why = (signals[order] * self.weights).argmax(1)
        return [
            (
                (float(first[i]), -float(scores[i])),
                Item(
                    str(self.shelf.ids[items[i]]),
                    self.shelf.title(int(items[i])),
                    float(scores[i]),
                    (_REASONS[why[at]],),
                ),
            )
            for at, i in enumerate(order)
        ]

    def _fresh(self, query: str, request: Request, changes: Delta) -> list[tuple[Place, Item]]:
        """Products that came or changed after the bundle was built; all words found is worth the best match."""
        worth = float(self.weights[0]) or 1.0
        found: list[tuple[Place, Item]] = []
        for product, share in changes.search(query, request.filters):
            body = changes.changed[product]
            value = body.get(request.sort.removeprefix("-")) if request.sort else 0.0
            first = _place(np.array([np.nan if value is None else value]), request.sort)[0]
            item = Item(product, body["title"], worth * share, (_REASONS[0],))
            found.append(((float(first), -item.score), item))
        return found


def _place(values: np.ndarray, sort: str) -> np.ndarray:
    """Numbers whose ascending order is the asked one; unknown values come last."""
    return np.nan_to_num(-values if sort.startswith("-") else values, nan=np.inf)


def open(folder: Path) -> Search:
    """Open a bundle's folder."""
    return Search(folder)
