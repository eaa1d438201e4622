"""Answers whom to tell: features of all users for one product, then the model that validation chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.protocols import Context
from vetrina.core.types import Audience, AudienceMember, AudienceRequest, Floats, Ints
from vetrina.features import affinities, segments, similarity
from vetrina.features.affinities import COLUMNS, USER_FEATURES
from vetrina.features.category_levels import LEVELS, CategoryLevels, category_levels
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.scenarios.launch.lookalike import seed_similarity as alike

_N_PROBE_PRODUCTS = 60  # products that a trial asks about
_CONTACT_FATIGUE = 0.5  # what a user's score is worth after each time they were told of something lately
_LIFT_AND_COUNT_COLUMNS = [
    (level, COLUMNS.index(f"{level}: lift"), COLUMNS.index(f"{level}: count")) for level in LEVELS[:-1]
]
_MIN_SIMILARITY = 0.6
_NO_VECTOR = np.empty(0, np.float32)
_NO_PURCHASES = np.empty((0, 0), np.int32)
_LEVELS_FINEST_FIRST = tuple(
    LEVELS.index(n) for n in ("brand in leaf", "leaf", "brand in category", "category", "department", "brand")
)
_FIRSTS_COLUMN = COLUMNS.index("firsts")
_VALUE_COLUMN = USER_FEATURES.index("value")


@dataclass(frozen=True)
class TargetProduct:
    """A product as launch sees it: its ``kinds`` (levels,), its price (NaN for unknown) and its ``vector`` (width,)."""

    category_levels: Ints
    price: float
    vector: Floats


class AudienceSelector:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"]["audience"]
        self.models: tuple[str, ...] = tuple(content["models"])
        self.active_model = next((m for m in self.models if weights.get(m)), self.models[0])
        self.catalogue = CatalogueIndex(folder / "shelf")
        self.category_levels = CategoryLevels(folder / "kinds")
        self.affinities = affinities.read(folder / "affinities")
        self.users, self.is_sold = affinities.read_users(folder / "affinities")
        self._models = {m: plugins.load_module("models", m, "online").load(folder / m) for m in self.models}
        self._content_model = self._models.get("content")
        self._recent_purchases = np.load(folder / "taken.npy", mmap_mode="r") if self._content_model else _NO_PURCHASES

    def scores(self, product: TargetProduct, only_model: str | None = None) -> Floats:
        """(users,) larger is likelier."""
        return self._models[only_model or self.active_model].score(self.features(product))

    def features(self, product: TargetProduct) -> Floats:
        """(users, columns) what every user has to do with its kinds, and how like it is to what they took."""
        known = self.affinities.features_for_product(product.category_levels, product.price)
        if self._content_model is None:
            return known
        return np.column_stack(
            [known, similarity.similarity_features(self._recent_purchases, self._content_model.vectors, product.vector)]
        )

    def catalogue_product(self, item: int) -> TargetProduct:
        """A product of the catalogue."""
        vector = self._content_model.vectors[item] if self._content_model else _NO_VECTOR
        return TargetProduct(
            self.category_levels.codes_of_item(item), float(self.catalogue.sort_key("price")[item]), vector
        )

    def answer(self, request: AudienceRequest, context: Context) -> Audience:
        """The best ``size`` users, and why each. Raises BadInput, and NotFound for an unknown product."""
        if request.size < 1:
            raise BadInput(f"size {request.size}", "is less than one", "say how many users you want to tell")
        if sum(map(bool, (request.product_id, request.seed_users))) > 1 or not (
            request.product_id or request.seed_users or request.segment
        ):
            raise BadInput(
                "an audience", "is for a product or like a list of users", "give one of the two, or a segment"
            )
        score, what = self._score_users(request, context)
        inside = np.ones(len(self.users), bool)
        if request.segment:
            inside &= segments.segment_members(self.affinities.user_features, request.segment)
        if request.eligible_users is not None:
            inside &= np.isin(self.users, np.array(sorted(request.eligible_users), dtype=self.users.dtype))
        order = top_users(np.where(inside, self._apply_contact_fatigue(score, request), -np.inf), request.size)
        reasons = self._reasons(order, what, request)
        named = zip(order.tolist(), reasons, strict=True)
        members = tuple(AudienceMember(str(self.users[u]), round(float(score[u]), 6), why) for u, why in named)
        return Audience(members, int(inside.sum()))

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        self.answer(
            AudienceRequest(self.catalogue.product_id(number % min(len(self.catalogue), _N_PROBE_PRODUCTS))), context
        )

    def _score_users(self, request: AudienceRequest, context: Context) -> tuple[Floats, TargetProduct | None]:
        """Scores above 0 for every user, and the product they are for."""
        if request.seed_users:
            seeds = self._user_rows(request.seed_users)
            if not len(seeds):
                raise NotFound(
                    f"{len(request.seed_users)} users", "are unknown to this version, all of them", "name others"
                )
            found = alike(self.affinities, seeds)
            found[seeds] = -np.inf  # they are the list already
            return _to_probability(found), None
        if request.product_id:
            what = self._resolve_product(request.product_id, context)
            return _to_probability(self.scores(what)), what
        return self.affinities.user_features[:, _VALUE_COLUMN] + 1e-6, None

    def _user_rows(self, users: Sequence[str]) -> Ints:
        asked = np.array(sorted(set(users)), dtype=self.users.dtype)
        at = np.minimum(np.searchsorted(self.users, asked), max(0, len(self.users) - 1))
        return at[self.users[at] == asked].astype(np.int32) if len(self.users) else np.empty(0, np.int32)

    def _resolve_product(self, product_id: str, context: Context) -> TargetProduct:
        """A product as it is now, known to the bundle or put since."""
        delta = context.catalogue_delta.changes_after(self.catalogue.last_seq)
        if product_id in delta.deleted_ids:
            raise NotFound(product_id, "was deleted", "name another product")
        if body := delta.changed_products.get(product_id):
            text = (str(body.get(name) or "") for name in ("title", "category", "brand"))
            price = body.get("price")
            kinds = self.category_levels.codes_of(category_levels(*text))
            return TargetProduct(kinds, float(price) if price is not None else np.nan, self._mean_vector(kinds))
        item = int(self.catalogue.index_of([product_id])[0])
        if item < 0:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return self.catalogue_product(item)

    def _mean_vector(self, category_levels: Ints) -> Floats:
        """The mean vector of the finest kind that is known: no encoder is at hand when a product is put."""
        if self._content_model is None:
            return _NO_VECTOR
        finest = next((level for level in _LEVELS_FINEST_FIRST if category_levels[level] >= 0), None)
        alike = (
            np.flatnonzero(self.category_levels.codes[:, finest] == category_levels[finest])
            if finest is not None
            else np.empty(0, int)
        )
        return self._content_model.mean(alike.astype(np.int32))

    def _apply_contact_fatigue(self, score: Floats, request: AudienceRequest) -> Floats:
        """Who was told of something lately comes later: others get their turn."""
        if not request.contact_counts:
            return score
        rows = {user: at for at, user in enumerate(self.users.tolist()) if user in request.contact_counts}
        rested = score.copy()
        for user, at in rows.items():
            rested[at] *= _CONTACT_FATIGUE ** request.contact_counts[user]
        return rested

    def _reasons(self, rows: NDArray[np.intp], product: TargetProduct | None, request: AudienceRequest) -> list[str]:
        if product is None:
            return [
                "takes the same kinds of products" if request.seed_users else f"is of the segment {request.segment}"
            ] * len(rows)
        features = self.affinities.features_for_product(
            product.category_levels, product.price, users=rows.astype(np.int32)
        )
        return [
            self._reason(row, product.category_levels, like)
            for row, like in zip(features, self._similar_purchases(rows, product), strict=True)
        ]

    def _similar_purchases(self, rows: NDArray[np.intp], product: TargetProduct) -> list[str]:
        """What each of some users took that is much like it, empty where nothing is."""
        if self._content_model is None:
            return [""] * len(rows)
        last = np.asarray(self._recent_purchases[rows])
        vectors = self._content_model.vectors
        found = similarity.most_similar_item(last, vectors, product.vector)
        near = np.where(found >= 0, vectors[found] @ product.vector, 0.0) >= _MIN_SIMILARITY
        return [
            self.catalogue.title(item) if so else "" for item, so in zip(found.tolist(), near.tolist(), strict=True)
        ]

    def _reason(self, row: Floats, category_levels: Ints, similar_purchase: str) -> str:
        """The kind of this product that the user takes most above the usual, or what they took that is like it, if any."""
        level = max(
            range(len(_LIFT_AND_COUNT_COLUMNS)),
            key=lambda at: row[_LIFT_AND_COUNT_COLUMNS[at][1]] * (row[_LIFT_AND_COUNT_COLUMNS[at][2]] > 0),
        )
        lift, count = (float(row[column]) for column in _LIFT_AND_COUNT_COLUMNS[level][1:])
        if count > 0 and lift > 1.0:
            return (
                f"took {self.category_levels.names[level][category_levels[level]]} {lift:.1f} times as often as others"
            )
        if similar_purchase:
            return f"took {similar_purchase}, which is much like it"
        return "tries new products early" if row[_FIRSTS_COLUMN] > 0 else "buys much in this shop"


def top_users(scores: Floats, size: int) -> NDArray[np.intp]:
    """Rows of the largest finite scores, largest first, ties by row."""
    order = np.argsort(-scores, kind="stable")[:size]
    return order[np.isfinite(scores[order]) & (scores[order] > 0)]


def _to_probability(scores: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))).astype(np.float32) * np.isfinite(scores)


def load(folder: Path) -> AudienceSelector:
    """Open a bundle's folder."""
    return AudienceSelector(folder)
