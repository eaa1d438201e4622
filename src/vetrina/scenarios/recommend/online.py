"""Answers recommend requests: every model scores the whole catalogue, a weighted sum ranks it, trees order the best anew."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context, History, Scorer
from vetrina.core.types import Answer, Floats, Ints, Item, Request
from vetrina.features import item_statistics
from vetrina.features.histories import Histories
from vetrina.retrieval import worth
from vetrina.retrieval.shelf import Shelf
from vetrina.retrieval.slots import interleaved
from vetrina.retrieval.trees import Trees
from vetrina.scenarios.recommend.features import features

# A placement names the blend it uses and whether the shopper's own products are left out; None leaves it to the recipe.
PLACEMENTS = {
    "home": ("home", None),
    "cart": ("discover", True),
    "product": ("session", True),
    "discover": ("discover", True),
    "buy_again": ("repeat", False),
    "looks_like": ("looks", True),
}
_PAGES = ("product", "looks_like")  # placements about the products on the page, whoever looks at it
SESSION_WEIGHT = 0.1
CANDIDATES, EACH = 100, 15  # what trees order: the best of the blend, and of each model
# Blends that no validation chooses.
_FIXED = {"repeat": {"repeat": 1.0}, "looks": {"image": 1.0}, "unseen": {"fusion": 1.0}}
_TIE = 1e-6
_TRIED = 60  # products that a trial asks about
_SAMPLED = 16  # one in so many scores tells which of all need be compared


class Part(NamedTuple):
    """One model's share of a blend: ``scale`` times ``scores`` (items,)."""

    model: str
    scale: float
    scores: Floats


class Recommend:
    """One opened bundle. ``weights`` maps a blend to {model: weight}."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.models: tuple[str, ...] = tuple(content["models"])
        self.weights: dict[str, dict[str, float]] = content["weights"]
        options = content["options"]
        self.exclude_seen = bool(options.get("exclude_seen", False))
        self.session_repeats = bool(options.get("session_repeats", False))
        self.shelf = Shelf(folder / "shelf")
        self.histories = Histories(folder / "histories")
        parts = {name: plugins.part("models", name, "online") for name in self.models}
        self._scorers: dict[str, Scorer] = {name: part.open(folder / name) for name, part in parts.items()}
        self._images: Any = self._scorers.get("image")
        self._why = {name: part.REASON for name, part in parts.items()}
        self._statistics = item_statistics.read(folder / "statistics")
        self._untaken = self.counts < 1.0
        self._codes = self.shelf.coded("category")[1], self.shelf.coded("brand")[1]
        # Trees know what they were shown: weights of other models, set by hand, go without them.
        self._trees = {
            name: Trees(folder / f"trees/{name}.onnx")
            for name, models in options.get("ranked", {}).items()
            if list(self.blend(name)) == models
        }

    @cached_property
    def worth(self) -> Floats:
        """(items, goals) what a sale of each product is worth; only goals ask for it."""
        return worth.read(self._folder / "worth.npy")

    def components(self, history: History) -> Floats:
        """(models, items): each model's scores, its largest value 1, in the order of ``models``."""
        rows = [self._scorers[name].score(history) for name in self.models]
        return np.stack([row * _scale(row) for row in rows])

    def blended(self, history: History, weights: Mapping[str, float]) -> tuple[Floats, list[Part]]:
        """(items,) weighted sum of ``components``, and what it is made of; models that weigh nothing are not asked."""
        total, parts = np.zeros(len(self.shelf), np.float32), []
        for model, weight in weights.items():
            scores = self._scorers[model].score(history)
            part = Part(model, float(weight) * _scale(scores), scores)
            total += part.scale * scores
            parts.append(part)
        return total, parts

    def ranked(
        self, history: History, name: str, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, list[Part]]:
        """(items,) scores under a blend, -inf for what is not ``allowed``, and what they are made of.

        Where the blend has trees, its best candidates stand above 1 in their order and all others at most at 1.
        """
        weights = self.blend(name)
        total, parts = self.blended(history, weights)
        if allowed is not None:
            total[~allowed] = -np.inf
        if name not in self._trees or not len(total):
            return total, parts
        items, components, score = self._best(total, parts, weights)
        ordered = total / max(float(total.max()), 1e-9)
        ordered[items] = 1.0 + _sigmoid(self._trees[name].score(self.features(history, items, components, score)))
        return ordered, parts

    def candidates(self, history: History, name: str, allowed: NDArray[np.bool_]) -> tuple[Ints, Floats, Floats]:
        """What trees order: products (n,), the models' scores of them (models, n) and their blended scores (n,)."""
        weights = self.blend(name)
        total, parts = self.blended(history, weights)
        total[~allowed] = -np.inf
        return self._best(total, parts, weights)

    def _best(self, total: Floats, parts: list[Part], weights: Mapping[str, float]) -> tuple[Ints, Floats, Floats]:
        found = [best(total, CANDIDATES)]
        out = ~np.isfinite(total)
        for part in parts if len(parts) > 1 else ():
            found.append(best(np.where(out | (part.scores <= 0), -np.inf, part.scores), EACH))
        items = np.unique(np.concatenate(found)).astype(np.int32)
        components = np.stack([p.scores[items] * (p.scale / weights[p.model]) for p in parts])
        return items, components, total[items]

    def features(self, history: History, items: Ints, components: Floats, score: Floats) -> Floats:
        """(candidates, columns) of what trees see."""
        return features(components, score, items, history, self._statistics, self._codes)

    def blend(self, name: str) -> dict[str, float]:
        """The models that weigh something; what sells breaks every tie."""
        chosen = _FIXED[name] if name in _FIXED else self.weights.get(name) or self.weights["discover"]
        weighed = {m: max(chosen.get(m, 0.0), _TIE * (m == "popular")) for m in self.models}
        return {m: w for m, w in weighed.items() if w > 0}

    def blend_for(self, user: str | None, history: History, name: str) -> str:
        """``home`` of somebody who is not known is ``session`` once they have looked at something, ``arriving`` before.

        Products that nobody has taken say nothing by behaviour: a session of nothing else goes by what they are like.
        """
        name = self._blend_for(user, history, name)
        if name != "session" or "fusion" not in self.models or not len(history.items):
            return name
        return "unseen" if self._untaken[history.items].all() else name

    def _blend_for(self, user: str | None, history: History, name: str) -> str:
        if name != "home" or (user is not None and user in self.histories):
            return name
        return "session" if len(history.items) else "arriving" if "arriving" in self.weights else name

    def order_by_weights(self) -> None:
        """Without trees, as where a single model is judged."""
        self._trees = {}

    def may_show(self, name: str, history: History, *, leave_out: bool = False) -> NDArray[np.bool_]:
        """(items,) all but what a blend leaves out, or must."""
        allowed = np.ones(len(self.shelf), bool)
        if leave_out or self.leaves_out(name):
            allowed[history.counts_items] = False
        return allowed

    @property
    def counts(self) -> Floats:
        """Events of each product (items,)."""
        return np.expm1(self._statistics[:, 0])

    def leaves_out(self, name: str) -> bool:
        """Whether a blend leaves out what the shopper had, where neither placement nor request says so."""
        return not self.session_repeats if name == "session" else self.exclude_seen

    def answer(self, request: Request, context: Context) -> Answer:
        """The best ``limit`` products with their scores, and why."""
        if request.placement not in PLACEMENTS:
            raise BadInput(f"placement {request.placement!r}", "is unknown", f"use one of {', '.join(PLACEMENTS)}")
        if request.placement == "looks_like" and "image" not in self.models:
            raise BadInput(
                "placement 'looks_like'", "needs pictures of products", "ingest products with a column image"
            )
        history = self.history(request, context)
        blend_name, exclude = PLACEMENTS[request.placement]
        blend_name = self.blend_for(request.user, history, blend_name)
        allowed = self._allowed(request, context, history, self.leaves_out(blend_name) if exclude is None else exclude)
        image = self._image_of_page(request, context, history)
        if image is None or request.placement != "looks_like":
            allowed = self._like_new(allowed, request, context, history)
        if image is None:
            scores, parts = self.ranked(history, blend_name, allowed)
        else:
            scores, parts = self._ranked_by_image(image, history, allowed)
        if context.goals:
            scores = worth.bent(scores, worth.lift(self.worth, context.goals))
        wanted = request.offset + request.limit
        top = self._top(scores, wanted, history, allowed, context.goals.get("newcomers", 0.0))[request.offset :]
        changed = context.products.after(self.shelf.logged).changed
        items = tuple(self._item(int(i), float(scores[i]), parts, changed) for i in top)
        return Answer(items, int(allowed.sum()))

    def _top(
        self, scores: Floats, wanted: int, history: History, allowed: NDArray[np.bool_], newcomers: float
    ) -> NDArray[np.intp]:
        """The best of all, and in a share of places the best of those that nobody has taken."""
        top = best(scores, wanted)
        if not newcomers or "fusion" not in self.models:
            return top
        like = self._scorers["fusion"].score(history)
        return interleaved(
            top, best(np.where(allowed & self._untaken & (like > 0), like, -np.inf), wanted), newcomers, wanted
        )

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        first = number % _TRIED
        ids = [self.shelf.id(i) for i in range(first, min(first + 5, len(self.shelf)))]
        self.answer(Request(product_ids=tuple(ids)), context)

    def history(self, request: Request, context: Context) -> History:
        """The user's past, then what happened since, then the products on the page or in the session."""
        ids = [*context.events.of(request.user, request.session, self.histories.until, self.histories.logged)]
        shown = [(p, context.now, SESSION_WEIGHT) for p in request.product_ids]
        on_page = request.placement in _PAGES
        user = None if on_page else request.user
        return self.histories.of(user, self._known(shown if on_page else [*ids, *shown]), context.now)

    def page(self, product_ids: Iterable[str], now: float) -> History:
        """Of somebody unknown who looks at products."""
        return self.histories.of(None, self._known((p, now, SESSION_WEIGHT) for p in product_ids), now)

    def _known(self, events: Iterable[tuple[str, float, float]]) -> list[tuple[int, float, float]]:
        listed = list(events)
        index = self.shelf.index_of([e[0] for e in listed])
        return [(int(i), time, weight) for i, (_, time, weight) in zip(index, listed, strict=True) if i >= 0]

    def _allowed(self, request: Request, context: Context, history: History, exclude: bool) -> NDArray[np.bool_]:
        mask = self.shelf.mask(request.filters)
        allowed = np.ones(len(self.shelf), bool) if mask is None else mask
        allowed &= ~(self.shelf.sort_key("stock") <= 0)
        chosen = exclude if request.exclude_seen is None else request.exclude_seen
        shown = request.product_ids if chosen else ()
        hidden = self.shelf.index_of([*context.products.after(self.shelf.logged).hidden, *shown])
        allowed[hidden[hidden >= 0]] = False
        if chosen:
            allowed[history.counts_items] = False
        elif request.placement == "buy_again":
            own = np.zeros(len(allowed), bool)
            own[history.counts_items] = True
            allowed &= own if len(history.counts_items) else True
        return allowed

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

    def _image_of_page(self, request: Request, context: Context, history: History) -> Floats | None:
        """(axes,) vector of the image of the page's product where training did not see it; None if this version's own network
        computed none."""
        if self._images is None or request.placement not in _PAGES or self._knows_page(request, history):
            return None
        images = context.products.after(self.shelf.logged).images
        embedded = [images[p] for p in request.product_ids if p in images]
        usable = [image for image in embedded if image.text and image.network == self._images.network]
        return usable[0].vector if usable else None

    def _knows_page(self, request: Request, history: History) -> bool:
        """Whether training saw what the placement goes by: images for ``looks_like``, the products otherwise."""
        if request.placement == "looks_like":
            return self._images.has(history.items)
        return len(history.items) > 0

    def _ranked_by_image(
        self, image: Floats, history: History, allowed: NDArray[np.bool_]
    ) -> tuple[Floats, list[Part]]:
        """The same as ``ranked`` by similarity to an image (axes,); what sells breaks every tie."""
        weights = {model: weight for model, weight in self.blend("looks").items() if model != "image"}
        total, parts = self.blended(history, weights)
        similarity = self._images.similarity(image)
        part = Part("image", _scale(similarity), similarity)
        total += part.scale * part.scores
        total[~allowed] = -np.inf
        return total, [part, *parts]

    def _item(self, item: int, score: float, parts: list[Part], changed: Any) -> Item:
        product = self.shelf.id(item)
        title = changed.get(product, {}).get("title") or self.shelf.title(item)
        most = max(parts, key=lambda part: part.scale * part.scores[item])
        return Item(product, title, score, (self._why[most.model],))


def _scale(scores: Floats) -> float:
    """What makes the largest score 1."""
    largest = float(scores.max(initial=0.0))
    return 1.0 / largest if largest > 0 else 1.0


def _sigmoid(values: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))).astype(np.float32)


def best(scores: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` largest finite scores, largest first, ties by index."""
    some, edge = scores[::_SAMPLED], -np.inf
    if len(some) > k > 0:  # of all scores at least as many as of some are as good as the k-th of these
        edge = np.partition(some, len(some) - k)[len(some) - k]
    near = np.flatnonzero(scores >= edge if edge > -np.inf else scores > -np.inf)
    if len(near) > k:
        near = near[np.argpartition(-scores[near], k - 1)[:k]] if k else near[:0]
    return near[np.lexsort((near, -scores[near]))]


def open(folder: Path) -> Recommend:
    """Open a bundle's folder."""
    return Recommend(folder)
