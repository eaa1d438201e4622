"""Answers recommend requests: every model scores the whole catalogue, a weighted sum ranks it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context, History, Scorer
from vetrina.core.types import Answer, Floats, Item, Request
from vetrina.features.histories import Histories
from vetrina.retrieval.shelf import Shelf

# A placement names the blend it uses and whether the shopper's own products may be shown.
PLACEMENTS = {
    "home": ("home", None),
    "cart": ("discover", True),
    "product": ("discover", True),
    "discover": ("discover", True),
    "buy_again": ("repeat", False),
}
_SESSION_WEIGHT = 0.1
_TIE = 1e-6


class Part(NamedTuple):
    """One model's share of a blend: ``scale`` times ``scores`` (items,)."""

    model: str
    scale: float
    scores: Floats


class Recommend:
    """One opened bundle. ``weights`` maps a blend to {model: weight}."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.models: tuple[str, ...] = tuple(content["models"])
        self.weights: dict[str, dict[str, float]] = content["weights"]
        self.exclude_seen = bool(content["options"].get("exclude_seen", False))
        self.shelf = Shelf(folder / "shelf")
        self.histories = Histories(folder / "histories")
        parts = {name: plugins.part("models", name, "online") for name in self.models}
        self._scorers: dict[str, Scorer] = {name: part.open(folder / name) for name, part in parts.items()}
        self._why = {name: part.REASON for name, part in parts.items()}

    def components(self, history: History) -> Floats:
        """(models, items): each model's scores, its largest value 1, in the order of ``models``."""
        rows = [self._scorers[name].score(history) for name in self.models]
        return np.stack([row * _scale(row) for row in rows])

    def ranked(self, history: History, weights: Floats) -> tuple[Floats, list[Part]]:
        """(items,) weighted sum of ``components``, and what it is made of; models that weigh nothing are not asked."""
        total, parts = np.zeros(len(self.shelf), np.float32), []
        for model in np.flatnonzero(weights).tolist():
            scores = self._scorers[self.models[model]].score(history)
            scale = float(weights[model]) * _scale(scores)
            total += scale * scores
            parts.append(Part(self.models[model], scale, scores))
        return total, parts

    def blend(self, name: str) -> Floats:
        """(models,) weights of a blend; models that a bundle lacks weigh nothing, what sells breaks every tie."""
        chosen = {"repeat": 1.0} if name == "repeat" else self.weights[name]
        return np.array([max(chosen.get(m, 0.0), _TIE * (m == "popular")) for m in self.models], np.float32)

    def answer(self, request: Request, context: Context) -> Answer:
        """The best ``limit`` products with their scores, and why."""
        if request.placement not in PLACEMENTS:
            raise BadInput(f"placement {request.placement!r}", "is unknown", f"use one of {', '.join(PLACEMENTS)}")
        history = self.history(request, context)
        blend_name, exclude = PLACEMENTS[request.placement]
        scores, parts = self.ranked(history, self.blend(blend_name))
        allowed = self._allowed(request, context, history, exclude)
        scores[~allowed] = -np.inf
        wanted = request.offset + request.limit
        top = best(scores, wanted)[request.offset :]
        changed = context.products.after(self.shelf.logged).changed
        items = tuple(self._item(int(i), float(scores[i]), parts, changed) for i in top)
        return Answer(items, int(allowed.sum()))

    def history(self, request: Request, context: Context) -> History:
        """The user's past, then what happened since, then the products on the page or in the session."""
        ids = [*context.events.of(request.user, request.session, self.histories.until, self.histories.logged)]
        shown = [(p, context.now, _SESSION_WEIGHT) for p in request.product_ids]
        on_page = request.placement == "product"
        user = None if on_page else request.user
        return self.histories.of(user, self._known(shown if on_page else [*ids, *shown]), context.now)

    def _known(self, events: Iterable[tuple[str, float, float]]) -> list[tuple[int, float, float]]:
        listed = list(events)
        index = self.shelf.index_of([e[0] for e in listed])
        return [(int(i), time, weight) for i, (_, time, weight) in zip(index, listed, strict=True) if i >= 0]

    def _allowed(self, request: Request, context: Context, history: History, exclude: bool | None) -> NDArray[np.bool_]:
        mask = self.shelf.mask(request.filters)
        allowed = np.ones(len(self.shelf), bool) if mask is None else mask
        allowed &= ~(self.shelf.sort_key("stock") <= 0)
        hidden = self.shelf.index_of([*context.products.after(self.shelf.logged).hidden, *request.product_ids])
        allowed[hidden[hidden >= 0]] = False
        chosen = request.exclude_seen if request.exclude_seen is not None else exclude
        if chosen is None:
            chosen = self.exclude_seen
        if chosen:
            allowed[history.counts_items] = False
        elif request.placement == "buy_again":
            own = np.zeros(len(allowed), bool)
            own[history.counts_items] = True
            allowed &= own if len(history.counts_items) else True
        return self._like_new(allowed, request, context, history)

    def _like_new(
        self, allowed: NDArray[np.bool_], request: Request, context: Context, history: History
    ) -> NDArray[np.bool_]:
        """A page about a product that came after training shows its category."""
        changed = context.products.after(self.shelf.logged).changed
        category = next((changed[p].get("category") for p in request.product_ids if p in changed), None)
        if len(history.items) or not category:
            return allowed
        like = self.shelf.mask({"category": category})
        return allowed & like if like is not None and (allowed & like).any() else allowed

    def _item(self, item: int, score: float, parts: list[Part], changed: Any) -> Item:
        product = str(self.shelf.ids[item])
        title = changed.get(product, {}).get("title") or self.shelf.title(item)
        most = max(parts, key=lambda part: part.scale * part.scores[item])
        return Item(product, title, score, (self._why[most.model],))


def _scale(scores: Floats) -> float:
    """What makes the largest score 1."""
    largest = float(scores.max(initial=0.0))
    return 1.0 / largest if largest > 0 else 1.0


def best(scores: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` largest finite scores, largest first, ties by index."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, np.intp)
    top = np.argpartition(-scores, k - 1)[:k]
    top = top[np.lexsort((top, -scores[top]))]
    return top[np.isfinite(scores[top])]


def open(folder: Path) -> Recommend:
    """Open a bundle's folder."""
    return Recommend(folder)
