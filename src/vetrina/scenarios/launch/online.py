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
from vetrina.core.types import Audience, Call, Floats, Ints, Member
from vetrina.features import affinities, likeness, segments
from vetrina.features.affinities import COLUMNS, OF_USER
from vetrina.features.kinds import LEVELS, Kinds, kinds_of
from vetrina.retrieval.shelf import Shelf
from vetrina.scenarios.launch.alike import likeness as alike

_TRIED = 60  # products that a trial asks about
_TOLD_AGAIN = 0.5  # what a user's score is worth after each time they were told of something lately
_LIFTS = [(level, COLUMNS.index(f"{level}: lift"), COLUMNS.index(f"{level}: count")) for level in LEVELS[:-1]]
_MUCH_LIKE = 0.6
_NO_VECTOR, _NOTHING_TAKEN = np.empty(0, np.float32), np.empty((0, 0), np.int32)
_FINEST = tuple(
    LEVELS.index(n) for n in ("brand in leaf", "leaf", "brand in category", "category", "department", "brand")
)
_FIRSTS, _VALUE = COLUMNS.index("firsts"), OF_USER.index("value")


@dataclass(frozen=True)
class Newcomer:
    """A product as launch sees it: its ``kinds`` (levels,), its price (NaN for unknown) and its ``vector`` (width,)."""

    kinds: Ints
    price: float
    vector: Floats


class Launch:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"]["audience"]
        self.models: tuple[str, ...] = tuple(content["models"])
        self.chosen = next((m for m in self.models if weights.get(m)), self.models[0])
        self.shelf, self.kinds = Shelf(folder / "shelf"), Kinds(folder / "kinds")
        self.affinities = affinities.read(folder / "affinities")
        self.users, self.sold = affinities.read_users(folder / "affinities")
        self._models = {m: plugins.part("models", m, "online").open(folder / m) for m in self.models}
        self._content = self._models.get("content")
        self._taken = np.load(folder / "taken.npy", mmap_mode="r") if self._content else _NOTHING_TAKEN

    def scores(self, product: Newcomer, only: str | None = None) -> Floats:
        """(users,) larger is likelier."""
        return self._models[only or self.chosen].score(self.features(product))

    def features(self, product: Newcomer) -> Floats:
        """(users, columns) what every user has to do with its kinds, and how like it is to what they took."""
        known = self.affinities.features(product.kinds, product.price)
        if self._content is None:
            return known
        return np.column_stack([known, likeness.columns(self._taken, self._content.vectors, product.vector)])

    def of_item(self, item: int) -> Newcomer:
        """A product of the catalogue."""
        vector = self._content.vectors[item] if self._content else _NO_VECTOR
        return Newcomer(self.kinds.of_item(item), float(self.shelf.sort_key("price")[item]), vector)

    def answer(self, call: Call, context: Context) -> Audience:
        """The best ``size`` users, and why each. Raises BadInput, and NotFound for an unknown product."""
        if call.size < 1:
            raise BadInput(f"size {call.size}", "is less than one", "say how many users you want to tell")
        if sum(map(bool, (call.product_id, call.like))) > 1 or not (call.product_id or call.like or call.segment):
            raise BadInput(
                "an audience", "is for a product or like a list of users", "give one of the two, or a segment"
            )
        score, what = self._scored(call, context)
        inside = np.ones(len(self.users), bool)
        if call.segment:
            inside &= segments.members(self.affinities.of_user, call.segment)
        if call.allowed is not None:
            inside &= np.isin(self.users, np.array(sorted(call.allowed), dtype=self.users.dtype))
        order = best(np.where(inside, self._rested(score, call), -np.inf), call.size)
        reasons = self._reasons(order, what, call)
        named = zip(order.tolist(), reasons, strict=True)
        members = tuple(Member(str(self.users[u]), round(float(score[u]), 6), why) for u, why in named)
        return Audience(members, int(inside.sum()))

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        self.answer(Call(self.shelf.id(number % min(len(self.shelf), _TRIED))), context)

    def _scored(self, call: Call, context: Context) -> tuple[Floats, Newcomer | None]:
        """Scores above 0 for every user, and the product they are for."""
        if call.like:
            seeds = self._rows(call.like)
            if not len(seeds):
                raise NotFound(f"{len(call.like)} users", "are unknown to this version, all of them", "name others")
            found = alike(self.affinities, seeds)
            found[seeds] = -np.inf  # they are the list already
            return _chance(found), None
        if call.product_id:
            what = self._product(call.product_id, context)
            return _chance(self.scores(what)), what
        return self.affinities.of_user[:, _VALUE] + 1e-6, None

    def _rows(self, users: Sequence[str]) -> Ints:
        asked = np.array(sorted(set(users)), dtype=self.users.dtype)
        at = np.minimum(np.searchsorted(self.users, asked), max(0, len(self.users) - 1))
        return at[self.users[at] == asked].astype(np.int32) if len(self.users) else np.empty(0, np.int32)

    def _product(self, product_id: str, context: Context) -> Newcomer:
        """A product as it is now, known to the bundle or put since."""
        delta = context.products.after(self.shelf.logged)
        if product_id in delta.deleted:
            raise NotFound(product_id, "was deleted", "name another product")
        if body := delta.changed.get(product_id):
            text = (str(body.get(name) or "") for name in ("title", "category", "brand"))
            price = body.get("price")
            kinds = self.kinds.of(kinds_of(*text))
            return Newcomer(kinds, float(price) if price is not None else np.nan, self._usual(kinds))
        item = int(self.shelf.index_of([product_id])[0])
        if item < 0:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return self.of_item(item)

    def _usual(self, kinds: Ints) -> Floats:
        """The mean vector of the finest kind that is known: no encoder is at hand when a product is put."""
        if self._content is None:
            return _NO_VECTOR
        finest = next((level for level in _FINEST if kinds[level] >= 0), None)
        alike = np.flatnonzero(self.kinds.codes[:, finest] == kinds[finest]) if finest is not None else np.empty(0, int)
        return self._content.mean(alike.astype(np.int32))

    def _rested(self, score: Floats, call: Call) -> Floats:
        """Who was told of something lately comes later: others get their turn."""
        if not call.told:
            return score
        rows = {user: at for at, user in enumerate(self.users.tolist()) if user in call.told}
        rested = score.copy()
        for user, at in rows.items():
            rested[at] *= _TOLD_AGAIN ** call.told[user]
        return rested

    def _reasons(self, rows: NDArray[np.intp], what: Newcomer | None, call: Call) -> list[str]:
        if what is None:
            return ["takes the same kinds of products" if call.like else f"is of the segment {call.segment}"] * len(
                rows
            )
        features = self.affinities.features(what.kinds, what.price, users=rows.astype(np.int32))
        return [self._reason(row, what.kinds, like) for row, like in zip(features, self._like(rows, what), strict=True)]

    def _like(self, rows: NDArray[np.intp], what: Newcomer) -> list[str]:
        """What each of some users took that is much like it, empty where nothing is."""
        if self._content is None:
            return [""] * len(rows)
        last, vectors = np.asarray(self._taken[rows]), self._content.vectors
        found = likeness.nearest(last, vectors, what.vector)
        near = np.where(found >= 0, vectors[found] @ what.vector, 0.0) >= _MUCH_LIKE
        return [self.shelf.title(item) if so else "" for item, so in zip(found.tolist(), near.tolist(), strict=True)]

    def _reason(self, row: Floats, kinds: Ints, like: str) -> str:
        """The kind of this product that the user takes most above the usual, or what they took that is like it, if any."""
        level = max(range(len(_LIFTS)), key=lambda at: row[_LIFTS[at][1]] * (row[_LIFTS[at][2]] > 0))
        lift, count = (float(row[column]) for column in _LIFTS[level][1:])
        if count > 0 and lift > 1.0:
            return f"took {self.kinds.names[level][kinds[level]]} {lift:.1f} times as often as others"
        if like:
            return f"took {like}, which is much like it"
        return "tries new products early" if row[_FIRSTS] > 0 else "buys much in this shop"


def best(scores: Floats, size: int) -> NDArray[np.intp]:
    """Rows of the largest finite scores, largest first, ties by row."""
    order = np.argsort(-scores, kind="stable")[:size]
    return order[np.isfinite(scores[order]) & (scores[order] > 0)]


def _chance(scores: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))).astype(np.float32) * np.isfinite(scores)


def open(folder: Path) -> Launch:
    """Open a bundle's folder."""
    return Launch(folder)
