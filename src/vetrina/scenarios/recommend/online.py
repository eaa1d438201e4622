"""Recommendation at serving time: scores of all models over the catalogue, a weighted blend, LambdaMART on top.

Every model scores the whole catalogue, a weighted sum of the scores ranks it, and LambdaMART trees re-rank the best candidates.
Training, tuning and evaluation use the same code. No training library is imported here.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.bundle.tree_ensemble.read import Trees
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.filters import Filters
from vetrina.core.protocols import Context, History, Scorer
from vetrina.core.types import Answer, Floats, Ints, RankedItem, Request
from vetrina.features import business_value, item_statistics
from vetrina.features.histories import Histories
from vetrina.models.base import find_model
from vetrina.ranking.reserved_positions import fill_reserved_positions
from vetrina.scenarios.base import RankingBundle
from vetrina.scenarios.recommend.features import ranker_features

# By placement: its blend, and whether products that the user has interacted with are excluded; None leaves it to the recipe.
PLACEMENTS = {
    "home": ("home", None),
    "cart": ("discover", True),
    "product": ("session", True),
    "discover": ("discover", True),
    "buy_again": ("repeat", False),
    "looks_like": ("looks", True),
}
_PAGES = ("product", "looks_like")  # placements about the products of the page, whoever the user is
SESSION_EVENT_WEIGHT = 0.1  # of a product on the page or in the session, as of a view
BLEND_CANDIDATES = 100  # best items of the blend that the trees re-rank
CANDIDATES_PER_MODEL = 15  # best items of each model that the trees re-rank
# Blends whose weights are not tuned on validation data.
_FIXED_BLENDS = {"repeat": {"repeat": 1.0}, "looks": {"image": 1.0}, "unseen": {"fusion": 1.0}}
_TIE_BREAK_WEIGHT = 1e-6  # of popularity in every blend
_N_PROBE_PRODUCTS = 60  # distinct products in the requests of a probe
_PROBE_SESSION_LENGTH = 5  # products in one request of a probe
_THRESHOLD_SAMPLE_STEP = 16  # one in so many scores is sampled for a lower bound of the k-th largest


class BlendTerm(NamedTuple):
    """One model's term of a blend: ``scale`` times ``scores`` (items,)."""

    model: str
    scale: float
    scores: Floats


class Recommender(RankingBundle):
    """A loaded bundle. ``weights`` maps a blend to {model: weight}."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.models: tuple[str, ...] = tuple(content["models"])
        self.weights: dict[str, dict[str, float]] = content["weights"]
        options = content["options"]
        self.exclude_seen = bool(options.get("exclude_seen", False))
        self.repeats_in_sessions = bool(options.get("session_repeats", False))
        self.catalogue = CatalogueIndex(folder / "catalogue")
        self.histories = Histories(folder / "histories")
        self._scorers: dict[str, Scorer] = {name: find_model(name).load(folder / name) for name in self.models}
        self._images: Any = self._scorers.get("image")
        self._model_reasons = {name: find_model(name).reason for name in self.models}
        self._statistics = item_statistics.read(folder / "statistics")
        self._is_cold_start = self.item_counts < 1.0
        category_codes = self.catalogue.field_codes("category")[1]
        brand_codes = self.catalogue.field_codes("brand")[1]
        self._codes = category_codes, brand_codes
        self._trees = self._load_trees(options.get("ranked", {}))

    def _load_trees(self, models_by_blend: Mapping[str, list[str]]) -> dict[str, Trees]:
        """The trees of each blend whose models are those that the trees were trained on.

        Where an operator has set weights of other models by hand, the blend goes without trees.
        """
        trees = {}
        for blend_name, trained_models in models_by_blend.items():
            if list(self.blend_weights(blend_name)) == trained_models:
                trees[blend_name] = Trees(self._folder / f"trees/{blend_name}.onnx")
        return trees

    @cached_property
    def business_values(self) -> Floats:
        """(items, goals) business value of a sale of each product; read when a goal needs it."""
        return business_value.read(self._folder)

    def scorer(self, model: str) -> Scorer:
        """The scorer of one of ``models``."""
        return self._scorers[model]

    def model_scores(self, history: History) -> Floats:
        """(models, items): each model's scores, scaled to a largest value of 1, in the order of ``models``."""
        rows = []
        for name in self.models:
            scores = self._scorers[name].score(history)
            rows.append(scores * _max_normaliser(scores))
        return np.stack(rows)

    def blend_scores(self, history: History, weights: Mapping[str, float]) -> tuple[Floats, list[BlendTerm]]:
        """(items,) weighted sum of the models' scores, and its terms. Only models in ``weights`` are computed."""
        terms = [blend_term(model, weight, self._scorers[model].score(history)) for model, weight in weights.items()]
        return sum_terms(terms, len(self.catalogue)), terms

    def ranking_scores(
        self, history: History, blend_name: str, allowed_items: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, list[BlendTerm]]:
        """Scores of a blend over the catalogue, and their terms.

        Where the blend has trees, its best candidates have scores above 1 in the order of the trees and all others at most 1.

        Args:
            history: the user's interactions.
            blend_name: a key of ``weights`` or a fixed blend.
            allowed_items: (items,) bool; all others get -inf. None allows all.

        Returns:
            (items,) float32, larger is better, and the terms of the blend.
        """
        total, terms = self.blend_scores(history, self.blend_weights(blend_name))
        if allowed_items is not None:
            total[~allowed_items] = -np.inf
        return self.rerank(history, blend_name, total, terms), terms

    def rerank(
        self, history: History, blend_name: str, total: Floats, terms: list[BlendTerm], items: Ints | None = None
    ) -> Floats:
        """Blended scores, with the best candidates in the order of the blend's trees, if it has any.

        Args:
            history: the user's interactions.
            blend_name: a key of ``weights`` or a fixed blend.
            total: (n,) blended scores.
            terms: the terms of the blend, with scores (n,).
            items: (n,) items that the scores are of, ascending; None for the whole catalogue.

        Returns:
            (n,) float32; the candidates' scores are above 1 and all others at most 1.
        """
        if blend_name not in self._trees or not len(total):
            return total
        rows, model_scores, blended = self._top_candidates(total, terms, self.blend_weights(blend_name))
        candidates = rows if items is None else items[rows]
        features = self.ranker_features(history, candidates, model_scores, blended)
        reranked = total / max(float(total.max()), 1e-9)
        reranked[rows] = 1.0 + _sigmoid(self._trees[blend_name].score(features))
        return reranked

    def candidates(
        self, history: History, blend_name: str, allowed_items: NDArray[np.bool_]
    ) -> tuple[Ints, Floats, Floats]:
        """The candidates that the trees of a blend re-rank.

        Args:
            history: the user's interactions.
            blend_name: a key of ``weights`` or a fixed blend.
            allowed_items: (items,) bool.

        Returns:
            Items (n,), the models' scores of them (models, n) with a largest value of 1 over the catalogue, and their blended
            scores (n,).
        """
        weights = self.blend_weights(blend_name)
        total, terms = self.blend_scores(history, weights)
        total[~allowed_items] = -np.inf
        return self._top_candidates(total, terms, weights)

    def _top_candidates(
        self, total: Floats, terms: list[BlendTerm], weights: Mapping[str, float]
    ) -> tuple[Ints, Floats, Floats]:
        """The best items of the blend and of each model, with their scores."""
        items = best_items(total, terms, BLEND_CANDIDATES, CANDIDATES_PER_MODEL)
        model_scores = np.stack([term.scores[items] * (term.scale / weights[term.model]) for term in terms])
        return items, model_scores, total[items]

    def ranker_features(self, history: History, items: Ints, model_scores: Floats, score: Floats) -> Floats:
        """Features of candidates for the trees.

        Args:
            history: the user's interactions.
            items: (n,) candidates.
            model_scores: (models, n) scores of each model, with a largest value of 1 over the catalogue.
            score: (n,) blended scores.

        Returns:
            (n, columns) float32, see ``features.feature_names``.
        """
        return ranker_features(model_scores, score, items, history, self._statistics, self._codes)

    def blend_weights(self, blend_name: str) -> dict[str, float]:
        """Weights above 0 by model; popularity has at least a tiny one, which breaks ties."""
        if blend_name in _FIXED_BLENDS:
            tuned = _FIXED_BLENDS[blend_name]
        else:
            tuned = self.weights.get(blend_name) or self.weights["discover"]
        weights = {}
        for model in self.models:
            floor = _TIE_BREAK_WEIGHT if model == "popular" else 0.0
            weight = max(tuned.get(model, 0.0), floor)
            if weight > 0:
                weights[model] = weight
        return weights

    def select_blend(self, user: str | None, history: History, blend_name: str) -> str:
        """The blend for a user with this history.

        ``home`` becomes ``session`` for a cold user with interactions, and ``arriving`` for a new visitor without any. A session
        of cold-start items only has no collaborative signal: it is ranked by content, with the blend ``unseen``.

        Args:
            user: pseudonym of the user, None for an anonymous visitor.
            history: the user's interactions.
            blend_name: the blend of the placement.
        """
        blend_name = self._select_blend_by_user(user, history, blend_name)
        if blend_name != "session" or "fusion" not in self.models or not len(history.items):
            return blend_name
        if self._is_cold_start[history.items].all():
            return "unseen"
        return blend_name

    def _select_blend_by_user(self, user: str | None, history: History, blend_name: str) -> str:
        is_warm_user = user is not None and user in self.histories
        if blend_name != "home" or is_warm_user:
            return blend_name
        if len(history.items):
            return "session"
        if "arriving" in self.weights:
            return "arriving"
        return blend_name

    def disable_trees(self) -> None:
        """Rank without trees, to evaluate a single model."""
        self._trees = {}

    def allowed_items(self, blend_name: str, history: History, *, exclude_seen: bool = False) -> NDArray[np.bool_]:
        """(items,) bool: all, or all that the user has not interacted with, if the blend or ``exclude_seen`` excludes those."""
        allowed = np.ones(len(self.catalogue), bool)
        if exclude_seen or self.is_excluding_seen(blend_name):
            allowed[history.counts_items] = False
        return allowed

    @property
    def item_counts(self) -> Floats:
        """Events of each product (items,)."""
        return np.expm1(self._statistics[:, 0])

    def is_excluding_seen(self, blend_name: str) -> bool:
        """Whether a blend excludes products that the user has interacted with, where placement and request leave it open."""
        if blend_name == "session":
            return not self.repeats_in_sessions
        return self.exclude_seen

    def answer(self, request: Request, context: Context) -> Answer:
        """The best ``limit`` products from ``offset`` on, with scores and reasons.

        Raises:
            BadInput: the placement is unknown or needs images that this bundle does not have.
        """
        if request.placement not in PLACEMENTS:
            raise BadInput(f"placement {request.placement!r}", "is unknown", f"use one of {', '.join(PLACEMENTS)}")
        if request.placement == "looks_like" and "image" not in self.models:
            raise NotFound("placement 'looks_like'", "needs images of products", "ingest products with a column image")
        history = self.history(request, context)
        blend_name, exclude_seen = PLACEMENTS[request.placement]
        blend_name = self.select_blend(request.user, history, blend_name)
        if exclude_seen is None:
            exclude_seen = self.is_excluding_seen(blend_name)
        allowed = self._request_allowed_items(request, context, history, exclude_seen)
        image = self._image_of_page(request, context, history)
        if image is None or request.placement != "looks_like":
            allowed = self._restrict_to_category(allowed, request, context, history)
        if image is None:
            scores, terms = self.ranking_scores(history, blend_name, allowed)
        else:
            scores, terms = self._rank_by_image(image, history, allowed)
        if context.goals:
            factors = business_value.score_factors(self.business_values, context.goals)
            scores = business_value.reweight_scores(scores, factors)
        cold_start_share = context.goals.get("cold_start_share", 0.0)
        top = self._top_items(scores, request.offset + request.limit, history, allowed, cold_start_share)
        page = top[request.offset :]
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        items = tuple(self._to_ranked_item(int(item), float(scores[item]), terms, changed) for item in page)
        return Answer(items, int(allowed.sum()))

    def _top_items(
        self, scores: Floats, limit: int, history: History, allowed_items: NDArray[np.bool_], cold_start_share: float
    ) -> NDArray[np.intp]:
        """The best ``limit`` items; a share of the positions is reserved for the best cold-start items.

        Args:
            scores: (items,) of the blend.
            limit: number of positions.
            history: cold-start items are ranked by content similarity to it.
            allowed_items: (items,) bool.
            cold_start_share: share of the positions, 0 to 1.
        """
        top = top_k(scores, limit)
        if not cold_start_share or "fusion" not in self.models:
            return top
        similarity = self._scorers["fusion"].score(history)
        is_candidate = allowed_items & self._is_cold_start & (similarity > 0)
        top_cold_start = top_k(np.where(is_candidate, similarity, -np.inf), limit)
        return fill_reserved_positions(top, top_cold_start, cold_start_share, limit)

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe: a session of a few products."""
        first = number % _N_PROBE_PRODUCTS
        end = min(first + _PROBE_SESSION_LENGTH, len(self.catalogue))
        product_ids = tuple(self.catalogue.product_id(item) for item in range(first, end))
        self.answer(Request(product_ids=product_ids), context)

    def history(self, request: Request, context: Context) -> History:
        """The user's interactions: those in the bundle, the recent events, the products of the page or session.

        On product pages only the products of the page count.
        """
        recent = list(
            context.recent_events.for_user(request.user, request.session, self.histories.until, self.histories.last_seq)
        )
        on_page = [(product_id, context.now, SESSION_EVENT_WEIGHT) for product_id in request.product_ids]
        if request.placement in _PAGES:
            return self.histories.history_of(None, self._catalogue_events(on_page), context.now)
        events = self._catalogue_events([*recent, *on_page])
        return self.histories.history_of(request.user, events, context.now)

    def page_history(self, product_ids: Iterable[str], now: float) -> History:
        """The history of an anonymous visitor who views these products at ``now``."""
        views = [(product_id, now, SESSION_EVENT_WEIGHT) for product_id in product_ids]
        return self.histories.history_of(None, self._catalogue_events(views), now)

    def _catalogue_events(self, events: Iterable[tuple[str, float, float]]) -> list[tuple[int, float, float]]:
        """(item, time, weight) of the events whose product is in the catalogue."""
        listed = list(events)
        index = self.catalogue.index_of([product_id for product_id, _, _ in listed])
        return [(int(i), time, weight) for i, (_, time, weight) in zip(index, listed, strict=True) if i >= 0]

    def _request_allowed_items(
        self, request: Request, context: Context, history: History, exclude_seen: bool
    ) -> NDArray[np.bool_]:
        """(items,) bool: matches the filters, in stock, not deleted, and new to the user or already bought, as requested."""
        mask = self.catalogue.filter_mask(request.filters)
        allowed = np.ones(len(self.catalogue), bool) if mask is None else mask
        allowed &= ~(self.catalogue.sort_key("stock") <= 0)
        if request.exclude_seen is not None:
            exclude_seen = request.exclude_seen
        delta = context.catalogue_delta.changes_after(self.catalogue.last_seq)
        hidden_ids = list(delta.hidden_ids)
        if exclude_seen:
            hidden_ids.extend(request.product_ids)
        hidden = self.catalogue.index_of(hidden_ids)
        allowed[hidden[hidden >= 0]] = False
        if exclude_seen:
            allowed[history.counts_items] = False
        elif request.placement == "buy_again" and len(history.counts_items):
            is_own = np.zeros(len(allowed), bool)
            is_own[history.counts_items] = True
            allowed &= is_own
        return allowed

    def _restrict_to_category(
        self, allowed_items: NDArray[np.bool_], request: Request, context: Context, history: History
    ) -> NDArray[np.bool_]:
        """On the page of a product that was put after training only its category is allowed, if that leaves any product."""
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        categories = (
            changed[product_id].get("category") for product_id in request.product_ids if product_id in changed
        )
        category = next(categories, None)
        if len(history.items) or not category:
            return allowed_items
        is_in_category = self.catalogue.filter_mask(Filters(category=category))
        if is_in_category is None or not (allowed_items & is_in_category).any():
            return allowed_items
        return allowed_items & is_in_category

    def _image_of_page(self, request: Request, context: Context, history: History) -> Floats | None:
        """(axes,) image embedding of the page's product, where it was put after training.

        None where training saw the product, or where this version's own image network did not compute the embedding.
        """
        if self._images is None or request.placement not in _PAGES or self._is_page_in_training(request, history):
            return None
        images = context.catalogue_delta.changes_after(self.catalogue.last_seq).images
        embedded = [images[product_id] for product_id in request.product_ids if product_id in images]
        usable = [image for image in embedded if image.text and image.network == self._images.network]
        return usable[0].vector if usable else None

    def _is_page_in_training(self, request: Request, history: History) -> bool:
        """Whether training saw what the placement is computed from: images for ``looks_like``, the products otherwise."""
        if request.placement == "looks_like":
            return self._images.has_image(history.items)
        return len(history.items) > 0

    def _rank_by_image(
        self, image: Floats, history: History, allowed_items: NDArray[np.bool_]
    ) -> tuple[Floats, list[BlendTerm]]:
        """As ``ranking_scores``, by similarity to an image embedding (axes,); popularity breaks ties."""
        weights = {model: weight for model, weight in self.blend_weights("looks").items() if model != "image"}
        total, terms = self.blend_scores(history, weights)
        similarity = self._images.similarity(image)
        term = BlendTerm("image", _max_normaliser(similarity), similarity)
        total += term.scale * term.scores
        total[~allowed_items] = -np.inf
        return total, [term, *terms]

    def _to_ranked_item(self, item: int, score: float, terms: list[BlendTerm], changed: Any) -> RankedItem:
        """An item with its present title, and the reason of the model that contributes most to its score."""
        product_id = self.catalogue.product_id(item)
        title = changed.get(product_id, {}).get("title") or self.catalogue.title(item)
        largest_term = max(terms, key=lambda term: term.scale * term.scores[item])
        return RankedItem(product_id, title, score, (self._model_reasons[largest_term.model],))


def blend_term(model: str, weight: float, scores: Floats) -> BlendTerm:
    """A model's term of a blend; its largest score (items,) counts as 1."""
    return BlendTerm(model, float(weight) * _max_normaliser(scores), scores)


def sum_terms(terms: Iterable[BlendTerm], n_items: int) -> Floats:
    """(n_items,) float32 blended scores."""
    total = np.zeros(n_items, np.float32)
    for term in terms:
        total += term.scale * term.scores
    return total


def best_items(total: Floats, terms: list[BlendTerm], n_of_blend: int, n_per_model: int) -> Ints:
    """The best items of the blend and of each model, ascending; one model alone adds none to those of its blend.

    Args:
        total: (items,) blended scores, -inf for items that are not allowed.
        terms: the terms of the blend.
        n_of_blend: how many items with the largest blended scores.
        n_per_model: how many items with the largest scores of each model; only scores above 0 count.
    """
    best = [top_k(total, n_of_blend)]
    if len(terms) > 1:
        is_excluded = ~np.isfinite(total)
        for term in terms:
            is_candidate = ~(is_excluded | (term.scores <= 0))
            best.append(top_k(np.where(is_candidate, term.scores, -np.inf), n_per_model))
    return np.unique(np.concatenate(best)).astype(np.int32)


def _max_normaliser(scores: Floats) -> float:
    """The factor that scales the largest score to 1; 1 where no score is above 0."""
    largest = float(scores.max(initial=0.0))
    return 1.0 / largest if largest > 0 else 1.0


def _sigmoid(values: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))).astype(np.float32)


def top_k(scores: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` largest finite scores, largest first, ties by index.

    The k-th largest score of a sample is a lower bound of the k-th largest of all: what is below it needs no sorting.
    """
    sample = scores[::_THRESHOLD_SAMPLE_STEP]
    bound = -np.inf
    if len(sample) > k > 0:
        bound = np.partition(sample, len(sample) - k)[len(sample) - k]
    is_near = scores >= bound if bound > -np.inf else scores > -np.inf
    near = np.flatnonzero(is_near)
    if len(near) > k:
        near = near[np.argpartition(-scores[near], k - 1)[:k]] if k else near[:0]
    return near[np.lexsort((near, -scores[near]))]
