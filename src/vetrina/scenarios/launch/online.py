"""Audience selection at serving time: user features for one product, scored by the selected model.

Selects users for a product, users similar to a seed list, or users of a segment. Consent and delivery are not known here: the
request says who is eligible. No training library is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.protocols import Context
from vetrina.core.types import Audience, AudienceMember, AudienceRequest, Floats, Ints
from vetrina.features import affinities, segments, similarity
from vetrina.features.affinities import COLUMNS, USER_FEATURES
from vetrina.features.category_levels import LEVELS, CategoryLevels, category_levels
from vetrina.models.base import find_model
from vetrina.scenarios.base import AudienceBundle
from vetrina.scenarios.launch.lookalike import seed_similarity

_N_PROBE_PRODUCTS = 60  # distinct products in the requests of a probe
_CONTACT_FATIGUE = 0.5  # factor on a user's score for each recent message
_MIN_SIMILARITY = 0.6  # from which a purchase is named as the reason
_MIN_SEGMENT_SCORE = 1e-6  # keeps users without value in an audience of a segment
_NO_VECTOR = np.empty(0, np.float32)
_NO_PURCHASES = np.empty((0, 0), np.int32)
_LEVELS_FINEST_FIRST = tuple(
    LEVELS.index(name) for name in ("brand in leaf", "leaf", "brand in category", "category", "department", "brand")
)
_REASON_LEVELS = LEVELS[:-1]
_LIFT_COLUMNS = [COLUMNS.index(f"{level}: lift") for level in _REASON_LEVELS]
_COUNT_COLUMNS = [COLUMNS.index(f"{level}: count") for level in _REASON_LEVELS]
_FIRSTS_COLUMN = COLUMNS.index("firsts")
_VALUE_COLUMN = USER_FEATURES.index("value")


@dataclass(frozen=True)
class TargetProduct:
    """The product of an audience: its ``category_levels`` (levels,), price (NaN for unknown) and content ``vector`` (width,)."""

    category_levels: Ints
    price: float
    vector: Floats


class AudienceSelector(AudienceBundle):
    """A loaded bundle. ``users`` (n,) are its users' pseudonyms, ``is_sold`` (items,) the products with interactions."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"]["audience"]
        self.models: tuple[str, ...] = tuple(content["models"])
        self.active_model = next((name for name in self.models if weights.get(name)), self.models[0])
        self.catalogue = CatalogueIndex(folder / "catalogue")
        self.category_levels = CategoryLevels(folder / "category_levels")
        self.affinities = affinities.read(folder / "affinities")
        self.users, self.is_sold = affinities.read_users(folder / "affinities")
        self._models = {}
        for name in self.models:
            self._models[name] = find_model(name).load(folder / name)
        self._content_model = self._models.get("content")
        self._recent_purchases = _NO_PURCHASES
        if self._content_model:
            self._recent_purchases = np.load(folder / "recent_items.npy", mmap_mode="r")

    def scores(self, product: TargetProduct, only_model: str | None = None) -> Floats:
        """(users,) scores of one product by the selected model or ``only_model``; larger is likelier to buy."""
        model = self._models[only_model or self.active_model]
        return model.score(self.features(product))

    def features(self, product: TargetProduct) -> Floats:
        """(users, columns) affinity of every user to the product's categories, and similarity to the user's last purchases."""
        affinity_features = self.affinities.features_for_product(product.category_levels, product.price)
        if self._content_model is None:
            return affinity_features
        similarity_features = similarity.similarity_features(
            self._recent_purchases, self._content_model.vectors, product.vector
        )
        return np.column_stack([affinity_features, similarity_features])

    def catalogue_product(self, item: int) -> TargetProduct:
        """A product of the bundle's catalogue."""
        vector = self._content_model.vectors[item] if self._content_model else _NO_VECTOR
        price = float(self.catalogue.sort_key("price")[item])
        return TargetProduct(self.category_levels.codes_of_item(item), price, vector)

    def answer(self, request: AudienceRequest, context: Context) -> Audience:
        """The best ``size`` users with a reason for each, and the number of eligible users.

        Raises:
            BadInput: the size is less than one, or the request names not exactly one target.
            NotFound: the product or all seed users are unknown.
        """
        _check_request(request)
        scores, product = self._score_users(request, context)
        is_eligible = np.ones(len(self.users), bool)
        if request.segment:
            is_eligible &= segments.segment_members(self.affinities.user_features, request.segment)
        if request.eligible_users is not None:
            is_eligible &= np.isin(self.users, np.array(sorted(request.eligible_users), dtype=self.users.dtype))
        rested_scores = self._apply_contact_fatigue(scores, request)
        rows = top_users(np.where(is_eligible, rested_scores, -np.inf), request.size)
        reasons = self._reasons(rows, product, request)
        members = []
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            members.append(AudienceMember(str(self.users[row]), round(float(scores[row]), 6), reason))
        return Audience(tuple(members), int(is_eligible.sum()))

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe: an audience for a product of the catalogue."""
        item = number % min(len(self.catalogue), _N_PROBE_PRODUCTS)
        self.answer(AudienceRequest(self.catalogue.product_id(item)), context)

    def _score_users(self, request: AudienceRequest, context: Context) -> tuple[Floats, TargetProduct | None]:
        """(users,) scores above 0, 0 for a user who cannot be selected, and the product that they are for, if any."""
        if request.seed_users:
            seeds = self._user_rows(request.seed_users)
            if not len(seeds):
                raise NotFound(
                    f"{len(request.seed_users)} users", "are unknown to this version, all of them", "name others"
                )
            similarity_to_seeds = seed_similarity(self.affinities, seeds)
            similarity_to_seeds[seeds] = -np.inf  # they are in the seed list already
            return _to_probability(similarity_to_seeds), None
        if request.product_id:
            product = self._resolve_product(request.product_id, context)
            return _to_probability(self.scores(product)), product
        return self.affinities.user_features[:, _VALUE_COLUMN] + _MIN_SEGMENT_SCORE, None

    def _user_rows(self, users: Sequence[str]) -> Ints:
        """Rows of the users whom the bundle knows, in the order of their pseudonyms."""
        if not len(self.users):
            return np.empty(0, np.int32)
        pseudonyms = np.array(sorted(set(users)), dtype=self.users.dtype)
        rows = np.minimum(np.searchsorted(self.users, pseudonyms), len(self.users) - 1)
        return rows[self.users[rows] == pseudonyms].astype(np.int32)

    def _resolve_product(self, product_id: str, context: Context) -> TargetProduct:
        """A product as it is now: as it was put after training, else of the bundle's catalogue. Raises NotFound."""
        delta = context.catalogue_delta.changes_after(self.catalogue.last_seq)
        if product_id in delta.deleted_ids:
            raise NotFound(product_id, "was deleted", "name another product")
        product = delta.changed_products.get(product_id)
        if product:
            title, category, brand = (str(product.get(field) or "") for field in ("title", "category", "brand"))
            levels = self.category_levels.codes_of(category_levels(title, category, brand))
            price = product.get("price")
            price = np.nan if price is None else float(price)
            return TargetProduct(levels, price, self._mean_vector(levels))
        item = int(self.catalogue.index_of([product_id])[0])
        if item < 0:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return self.catalogue_product(item)

    def _mean_vector(self, category_levels: Ints) -> Floats:
        """The mean content vector of the finest known category: serving has no encoder for a product that was just put."""
        if self._content_model is None:
            return _NO_VECTOR
        items = np.empty(0, int)
        for level in _LEVELS_FINEST_FIRST:
            if category_levels[level] >= 0:
                items = np.flatnonzero(self.category_levels.codes[:, level] == category_levels[level])
                break
        return self._content_model.mean_vector(items.astype(np.int32))

    def _apply_contact_fatigue(self, scores: Floats, request: AudienceRequest) -> Floats:
        """(users,) scores that are smaller for users with recent messages, so that others get their turn."""
        if not request.contact_counts:
            return scores
        rested_scores = scores.copy()
        for row, user in enumerate(self.users.tolist()):
            if user in request.contact_counts:
                rested_scores[row] *= _CONTACT_FATIGUE ** request.contact_counts[user]
        return rested_scores

    def _reasons(self, rows: NDArray[np.intp], product: TargetProduct | None, request: AudienceRequest) -> list[str]:
        """The reason for each selected user.

        Args:
            rows: (n,) rows of the users.
            product: what the audience is for, None for a seed list or a segment.
            request: names the segment.
        """
        if product is None:
            reason = f"is of the segment {request.segment}"
            if request.seed_users:
                reason = "buys in the same categories"
            return [reason] * len(rows)
        features = self.affinities.features_for_product(
            product.category_levels, product.price, users=rows.astype(np.int32)
        )
        similar_purchases = self._similar_purchases(rows, product)
        reasons = []
        for user_features, similar_purchase in zip(features, similar_purchases, strict=True):
            reasons.append(self._reason(user_features, product.category_levels, similar_purchase))
        return reasons

    def _similar_purchases(self, rows: NDArray[np.intp], product: TargetProduct) -> list[str]:
        """The title of the purchase of each user (n,) that is most similar to the product, empty where none is similar."""
        if self._content_model is None:
            return [""] * len(rows)
        purchases = np.asarray(self._recent_purchases[rows])
        vectors = self._content_model.vectors
        nearest_items = similarity.most_similar_item(purchases, vectors, product.vector)
        similarities = np.where(nearest_items >= 0, vectors[nearest_items] @ product.vector, 0.0)
        is_similar = similarities >= _MIN_SIMILARITY
        titles = []
        for item, is_named in zip(nearest_items.tolist(), is_similar.tolist(), strict=True):
            titles.append(self.catalogue.title(item) if is_named else "")
        return titles

    def _reason(self, user_features: Floats, category_levels: Ints, similar_purchase: str) -> str:
        """The category of the product that the user buys most above the average, else a similar purchase, if any.

        Args:
            user_features: (columns,) of one user for this product.
            category_levels: (levels,) of the product.
            similar_purchase: title of a purchase, empty for none.
        """
        lifts = user_features[_LIFT_COLUMNS]
        counts = user_features[_COUNT_COLUMNS]
        level = int(np.argmax(lifts * (counts > 0)))
        lift = float(lifts[level])
        if float(counts[level]) > 0 and lift > 1.0:
            category = self.category_levels.names[level][category_levels[level]]
            return f"buys {category} {lift:.1f} times as often as others"
        if similar_purchase:
            return f"bought {similar_purchase}, which is similar"
        if user_features[_FIRSTS_COLUMN] > 0:
            return "tries new products early"
        return "buys much in this shop"


def _check_request(request: AudienceRequest) -> None:
    """Raises BadInput unless the size is positive and there is one target: a product, a seed list, or only a segment."""
    if request.size < 1:
        raise BadInput(f"size {request.size}", "is less than one", "say how many users you want to target")
    has_both = bool(request.product_id) and bool(request.seed_users)
    has_target = request.product_id or request.seed_users or request.segment
    if has_both or not has_target:
        raise BadInput(
            "an audience", "is for a product or similar to a list of users", "give one of the two, or a segment"
        )


def top_users(scores: Floats, size: int) -> NDArray[np.intp]:
    """Rows of the ``size`` largest scores that are finite and above 0, largest first, ties by row."""
    order = np.argsort(-scores, kind="stable")[:size]
    is_selectable = np.isfinite(scores[order]) & (scores[order] > 0)
    return order[is_selectable]


def _to_probability(scores: Floats) -> Floats:
    """The sigmoid of the scores; 0 where a score is not finite."""
    return (1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))).astype(np.float32) * np.isfinite(scores)
