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
from vetrina.core.types import Answer, Floats, Ints, RankedItem, Request
from vetrina.features import item_statistics
from vetrina.features.histories import Histories
from vetrina.retrieval import business_value
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.retrieval.reserved_positions import fill_reserved_positions
from vetrina.retrieval.trees import Trees
from vetrina.scenarios.recommend.features import ranker_features

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
SESSION_EVENT_WEIGHT = 0.1
# what trees order: the best of the blend, and of each model
BLEND_CANDIDATES = 100
CANDIDATES_PER_MODEL = 15
# Blends that no validation chooses.
_FIXED_BLENDS = {"repeat": {"repeat": 1.0}, "looks": {"image": 1.0}, "unseen": {"fusion": 1.0}}
_TIE_BREAK_WEIGHT = 1e-6
_N_PROBE_PRODUCTS = 60  # products that a trial asks about
_THRESHOLD_SAMPLE_STEP = 16  # one in so many scores tells which of all need be compared


class BlendTerm(NamedTuple):
    """One model's share of a blend: ``scale`` times ``scores`` (items,)."""

    model: str
    scale: float
    scores: Floats


class Recommender:
    """One opened bundle. ``weights`` maps a blend to {model: weight}."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.models: tuple[str, ...] = tuple(content["models"])
        self.weights: dict[str, dict[str, float]] = content["weights"]
        options = content["options"]
        self.exclude_seen = bool(options.get("exclude_seen", False))
        self.repeats_in_sessions = bool(options.get("session_repeats", False))
        self.catalogue = CatalogueIndex(folder / "shelf")
        self.histories = Histories(folder / "histories")
        parts = {name: plugins.load_module("models", name, "online") for name in self.models}
        self._scorers: dict[str, Scorer] = {name: module.load(folder / name) for name, module in parts.items()}
        self._images: Any = self._scorers.get("image")
        self._model_reasons = {name: module.REASON for name, module in parts.items()}
        self._statistics = item_statistics.read(folder / "statistics")
        self._is_cold_start = self.item_counts < 1.0
        self._codes = self.catalogue.field_codes("category")[1], self.catalogue.field_codes("brand")[1]
        # Trees know what they were shown: weights of other models, set by hand, go without them.
        self._trees = {
            name: Trees(folder / f"trees/{name}.onnx")
            for name, models in options.get("ranked", {}).items()
            if list(self.blend_weights(name)) == models
        }

    @cached_property
    def business_values(self) -> Floats:
        """(items, goals) what a sale of each product is worth; only goals ask for it."""
        return business_value.read(self._folder / "worth.npy")

    def model_scores(self, history: History) -> Floats:
        """(models, items): each model's scores, its largest value 1, in the order of ``models``."""
        rows = [self._scorers[name].score(history) for name in self.models]
        return np.stack([row * _max_normaliser(row) for row in rows])

    def blend_scores(self, history: History, weights: Mapping[str, float]) -> tuple[Floats, list[BlendTerm]]:
        """(items,) weighted sum of ``components``, and what it is made of; models that weigh nothing are not asked."""
        total = np.zeros(len(self.catalogue), np.float32)
        parts = []
        for model, weight in weights.items():
            scores = self._scorers[model].score(history)
            part = BlendTerm(model, float(weight) * _max_normaliser(scores), scores)
            total += part.scale * scores
            parts.append(part)
        return total, parts

    def ranking_scores(
        self, history: History, blend_name: str, allowed_items: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, list[BlendTerm]]:
        """(items,) scores under a blend, -inf for what is not ``allowed``, and what they are made of.

        Where the blend has trees, its best candidates stand above 1 in their order and all others at most at 1.
        """
        weights = self.blend_weights(blend_name)
        total, parts = self.blend_scores(history, weights)
        if allowed_items is not None:
            total[~allowed_items] = -np.inf
        if blend_name not in self._trees or not len(total):
            return total, parts
        items, components, score = self._top_candidates(total, parts, weights)
        ordered = total / max(float(total.max()), 1e-9)
        ordered[items] = 1.0 + _sigmoid(
            self._trees[blend_name].score(self.ranker_features(history, items, components, score))
        )
        return ordered, parts

    def candidates(
        self, history: History, blend_name: str, allowed_items: NDArray[np.bool_]
    ) -> tuple[Ints, Floats, Floats]:
        """What trees order: products (n,), the models' scores of them (models, n) and their blended scores (n,)."""
        weights = self.blend_weights(blend_name)
        total, parts = self.blend_scores(history, weights)
        total[~allowed_items] = -np.inf
        return self._top_candidates(total, parts, weights)

    def _top_candidates(
        self, total: Floats, terms: list[BlendTerm], weights: Mapping[str, float]
    ) -> tuple[Ints, Floats, Floats]:
        found = [top_k(total, BLEND_CANDIDATES)]
        out = ~np.isfinite(total)
        for part in terms if len(terms) > 1 else ():
            found.append(top_k(np.where(out | (part.scores <= 0), -np.inf, part.scores), CANDIDATES_PER_MODEL))
        items = np.unique(np.concatenate(found)).astype(np.int32)
        components = np.stack([p.scores[items] * (p.scale / weights[p.model]) for p in terms])
        return items, components, total[items]

    def ranker_features(self, history: History, items: Ints, model_scores: Floats, score: Floats) -> Floats:
        """(candidates, columns) of what trees see."""
        return ranker_features(model_scores, score, items, history, self._statistics, self._codes)

    def blend_weights(self, blend_name: str) -> dict[str, float]:
        """The models that weigh something; what sells breaks every tie."""
        chosen = (
            _FIXED_BLENDS[blend_name]
            if blend_name in _FIXED_BLENDS
            else self.weights.get(blend_name) or self.weights["discover"]
        )
        weighed = {m: max(chosen.get(m, 0.0), _TIE_BREAK_WEIGHT * (m == "popular")) for m in self.models}
        return {m: w for m, w in weighed.items() if w > 0}

    def select_blend(self, user: str | None, history: History, blend_name: str) -> str:
        """``home`` of somebody who is not known is ``session`` once they have looked at something, ``arriving`` before.

        Products that nobody has taken say nothing by behaviour: a session of nothing else goes by what they are like.
        """
        blend_name = self._select_blend_by_user(user, history, blend_name)
        if blend_name != "session" or "fusion" not in self.models or not len(history.items):
            return blend_name
        return "unseen" if self._is_cold_start[history.items].all() else blend_name

    def _select_blend_by_user(self, user: str | None, history: History, blend_name: str) -> str:
        if blend_name != "home" or (user is not None and user in self.histories):
            return blend_name
        return "session" if len(history.items) else "arriving" if "arriving" in self.weights else blend_name

    def disable_trees(self) -> None:
        """Without trees, as where a single model is judged."""
        self._trees = {}

    def allowed_items(self, blend_name: str, history: History, *, exclude_seen: bool = False) -> NDArray[np.bool_]:
        """(items,) all but what a blend leaves out, or must."""
        allowed = np.ones(len(self.catalogue), bool)
        if exclude_seen or self.is_excluding_seen(blend_name):
            allowed[history.counts_items] = False
        return allowed

    @property
    def item_counts(self) -> Floats:
        """Events of each product (items,)."""
        return np.expm1(self._statistics[:, 0])

    def is_excluding_seen(self, blend_name: str) -> bool:
        """Whether a blend leaves out what the shopper had, where neither placement nor request says so."""
        return not self.repeats_in_sessions if blend_name == "session" else self.exclude_seen

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
        blend_name = self.select_blend(request.user, history, blend_name)
        allowed = self._request_allowed_items(
            request, context, history, self.is_excluding_seen(blend_name) if exclude is None else exclude
        )
        image = self._image_of_page(request, context, history)
        if image is None or request.placement != "looks_like":
            allowed = self._restrict_to_category(allowed, request, context, history)
        if image is None:
            scores, parts = self.ranking_scores(history, blend_name, allowed)
        else:
            scores, parts = self._ranked_by_image(image, history, allowed)
        if context.goals:
            scores = business_value.reweight_scores(
                scores, business_value.score_factors(self.business_values, context.goals)
            )
        wanted = request.offset + request.limit
        top = self._top_items(scores, wanted, history, allowed, context.goals.get("cold_start_share", 0.0))[
            request.offset :
        ]
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        items = tuple(self._item(int(i), float(scores[i]), parts, changed) for i in top)
        return Answer(items, int(allowed.sum()))

    def _top_items(
        self, scores: Floats, limit: int, history: History, allowed_items: NDArray[np.bool_], cold_start_share: float
    ) -> NDArray[np.intp]:
        """The best of all, and in a share of places the best of those that nobody has taken."""
        top = top_k(scores, limit)
        if not cold_start_share or "fusion" not in self.models:
            return top
        like = self._scorers["fusion"].score(history)
        return fill_reserved_positions(
            top,
            top_k(np.where(allowed_items & self._is_cold_start & (like > 0), like, -np.inf), limit),
            cold_start_share,
            limit,
        )

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        first = number % _N_PROBE_PRODUCTS
        ids = [self.catalogue.product_id(i) for i in range(first, min(first + 5, len(self.catalogue)))]
        self.answer(Request(product_ids=tuple(ids)), context)

    def history(self, request: Request, context: Context) -> History:
        """The user's past, then what happened since, then the products on the page or in the session."""
        ids = [
            *context.recent_events.for_user(
                request.user, request.session, self.histories.until, self.histories.last_seq
            )
        ]
        shown = [(p, context.now, SESSION_EVENT_WEIGHT) for p in request.product_ids]
        on_page = request.placement in _PAGES
        user = None if on_page else request.user
        return self.histories.history_of(
            user, self._catalogue_events(shown if on_page else [*ids, *shown]), context.now
        )

    def page_history(self, product_ids: Iterable[str], now: float) -> History:
        """Of somebody unknown who looks at products."""
        return self.histories.history_of(
            None, self._catalogue_events((p, now, SESSION_EVENT_WEIGHT) for p in product_ids), now
        )

    def _catalogue_events(self, events: Iterable[tuple[str, float, float]]) -> list[tuple[int, float, float]]:
        listed = list(events)
        index = self.catalogue.index_of([e[0] for e in listed])
        return [(int(i), time, weight) for i, (_, time, weight) in zip(index, listed, strict=True) if i >= 0]

    def _request_allowed_items(
        self, request: Request, context: Context, history: History, exclude_seen: bool
    ) -> NDArray[np.bool_]:
        mask = self.catalogue.filter_mask(request.filters)
        allowed = np.ones(len(self.catalogue), bool) if mask is None else mask
        allowed &= ~(self.catalogue.sort_key("stock") <= 0)
        chosen = exclude_seen if request.exclude_seen is None else request.exclude_seen
        shown = request.product_ids if chosen else ()
        hidden = self.catalogue.index_of(
            [*context.catalogue_delta.changes_after(self.catalogue.last_seq).hidden_ids, *shown]
        )
        allowed[hidden[hidden >= 0]] = False
        if chosen:
            allowed[history.counts_items] = False
        elif request.placement == "buy_again":
            own = np.zeros(len(allowed), bool)
            own[history.counts_items] = True
            allowed &= own if len(history.counts_items) else True
        return allowed

    def _restrict_to_category(
        self, allowed_items: NDArray[np.bool_], request: Request, context: Context, history: History
    ) -> NDArray[np.bool_]:
        """A page about a product that came after training shows its category."""
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        category = next((changed[p].get("category") for p in request.product_ids if p in changed), None)
        if len(history.items) or not category:
            return allowed_items
        like = self.catalogue.filter_mask({"category": category})
        return allowed_items & like if like is not None and (allowed_items & like).any() else allowed_items

    def _image_of_page(self, request: Request, context: Context, history: History) -> Floats | None:
        """(axes,) vector of the image of the page's product where training did not see it; None if this version's own network
        computed none."""
        if self._images is None or request.placement not in _PAGES or self._knows_page(request, history):
            return None
        images = context.catalogue_delta.changes_after(self.catalogue.last_seq).images
        embedded = [images[p] for p in request.product_ids if p in images]
        usable = [image for image in embedded if image.text and image.network == self._images.network]
        return usable[0].vector if usable else None

    def _knows_page(self, request: Request, history: History) -> bool:
        """Whether training saw what the placement goes by: images for ``looks_like``, the products otherwise."""
        if request.placement == "looks_like":
            return self._images.has_image(history.items)
        return len(history.items) > 0

    def _ranked_by_image(
        self, image: Floats, history: History, allowed: NDArray[np.bool_]
    ) -> tuple[Floats, list[BlendTerm]]:
        """The same as ``ranked`` by similarity to an image (axes,); what sells breaks every tie."""
        weights = {model: weight for model, weight in self.blend_weights("looks").items() if model != "image"}
        total, parts = self.blend_scores(history, weights)
        similarity = self._images.similarity(image)
        part = BlendTerm("image", _max_normaliser(similarity), similarity)
        total += part.scale * part.scores
        total[~allowed] = -np.inf
        return total, [part, *parts]

    def _item(self, item: int, score: float, terms: list[BlendTerm], changed: Any) -> RankedItem:
        product = self.catalogue.product_id(item)
        title = changed.get(product, {}).get("title") or self.catalogue.title(item)
        most = max(terms, key=lambda part: part.scale * part.scores[item])
        return RankedItem(product, title, score, (self._model_reasons[most.model],))


def _max_normaliser(scores: Floats) -> float:
    """What makes the largest score 1."""
    largest = float(scores.max(initial=0.0))
    return 1.0 / largest if largest > 0 else 1.0


def _sigmoid(values: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))).astype(np.float32)


def top_k(scores: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` largest finite scores, largest first, ties by index."""
    some = scores[::_THRESHOLD_SAMPLE_STEP]
    edge = -np.inf
    if len(some) > k > 0:  # of all scores at least as many as of some are as good as the k-th of these
        edge = np.partition(some, len(some) - k)[len(some) - k]
    near = np.flatnonzero(scores >= edge if edge > -np.inf else scores > -np.inf)
    if len(near) > k:
        near = near[np.argpartition(-scores[near], k - 1)[:k]] if k else near[:0]
    return near[np.lexsort((near, -scores[near]))]


def load(folder: Path) -> Recommender:
    """Open a bundle's folder."""
    return Recommender(folder)
