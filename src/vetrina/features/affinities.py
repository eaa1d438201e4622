"""How much every user has to do with every kind of product, and how readily they try what is new.

One row of numbers a user for one product, whoever asks: training on products that were launched before, and serving for one
that nobody has bought. The batch form is the only one; it is made anew with each bundle.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.types import Floats, Interactions, Ints
from vetrina.features.category_levels import LEVELS

LEVEL_FEATURES = ("count", "lately", "products", "firsts")  # kept of each user and kind
USER_FEATURES = ("events", "events lately", "firsts", "new products", "products", "days since", "days known", "value")
_LEVEL_COLUMNS = (*LEVEL_FEATURES, "lift", "buyers")
COLUMNS = (*(f"{level}: {name}" for level in LEVELS for name in _LEVEL_COLUMNS), *USER_FEATURES, "price")
_DECAY_SECONDS = 60 * DAY
_RECENCY_WINDOW = 28 * DAY
_TRIAL_WINDOW = 90 * DAY
_NEW_PRODUCT_AGE = 28 * DAY
_FIRST_PURCHASE_WINDOW = DAY
_MAX_INACTIVITY = 730 * DAY
_WARM_UP_SHARE = 1 / 3  # of the log: what is first seen before then may be old


def first_seen(events: Interactions, n_items: int) -> NDArray[np.float64]:
    """(items,) moment of the first event, infinite for products without one, minus infinity for those that may be older.

    A log begins with products that were there before: what shows up before a third of it is over (at most four weeks) counts
    as old.
    """
    first = np.full(n_items, np.inf)
    np.minimum.at(first, events.item, events.time)
    if len(events):
        begin = float(events.time.min())
        first[first < begin + min(_NEW_PRODUCT_AGE, _WARM_UP_SHARE * (events.until - begin))] = -np.inf
    return first


@dataclass(frozen=True)
class LevelAffinities:
    """Users by kind: ``starts`` (kinds + 1,), ``users`` (n,) ascending within a kind, ``numbers`` (n, COUNTED)."""

    starts: NDArray[np.int64]
    users: Ints
    values: Floats

    @cached_property
    def totals(self) -> Floats:
        """(kinds, 2): events and buyers of each kind."""
        kind = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        counted = (np.bincount(kind, self.values[:, at], len(self.starts) - 1) for at in (0, 2))
        return np.stack([*counted], 1).astype(np.float32)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """(n,) ascending: kind times 2^32, plus user."""
        kind = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int64), np.diff(self.starts))
        return (kind << 32) + self.users


@dataclass(frozen=True)
class Affinities:
    """``levels`` as in ``kinds.LEVELS``; ``of_user`` (users, OF_USER)."""

    levels: tuple[LevelAffinities, ...]
    user_features: Floats

    @property
    def n_users(self) -> int:
        """How many there are."""
        return len(self.user_features)

    def features_for_product(self, level_codes: Ints, price: float, users: Ints | None = None) -> Floats:
        """(users, COLUMNS) float32 for a product of these ``kinds`` (levels,), -1 for an unknown one; of some users, or all."""
        rows = slice(None) if users is None else users
        own = self.user_features[rows]
        found = np.zeros((len(own), len(COLUMNS)), np.float32)
        active = np.maximum(self.user_features[:, 0], 1.0)
        whole = max(float(self.user_features[:, 0].sum()), 1.0)
        width = len(_LEVEL_COLUMNS)
        dense = np.zeros((self.n_users, len(LEVEL_FEATURES)), np.float32)
        for at, (level, kind) in enumerate(zip(self.levels, level_codes, strict=True)):
            if kind < 0:
                continue
            inside = slice(int(level.starts[kind]), int(level.starts[kind + 1]))
            dense[:] = 0.0
            dense[level.users[inside]] = level.values[inside]
            events, buyers = level.totals[kind]
            found[:, at * width : at * width + len(LEVEL_FEATURES)] = dense[rows]
            found[:, at * width + len(LEVEL_FEATURES)] = dense[rows, 0] / active[rows] / (events / whole + 1e-6)
            found[:, at * width + len(LEVEL_FEATURES) + 1] = buyers
        found[:, len(LEVELS) * width : -1] = own
        found[:, -1] = price if np.isfinite(price) else -1.0
        return found

    def features_for_user(self, user: int, level_codes: Ints, prices: NDArray[np.float64]) -> Floats:
        """(products, COLUMNS) float32, what ``features`` says of one user for products of ``kinds`` (products, levels); -1 for
        a user of whom nothing is known."""
        found = np.zeros((len(level_codes), len(COLUMNS)), np.float32)
        own = self.user_features[user] if user >= 0 else np.zeros(len(USER_FEATURES), np.float32)
        active = max(float(own[0]), 1.0)
        whole = max(float(self.user_features[:, 0].sum()), 1.0)
        width = len(_LEVEL_COLUMNS)
        for at, level in enumerate(self.levels):
            kind = level_codes[:, at]
            known = kind >= 0
            key = (kind.astype(np.int64) << 32) + user
            place = np.minimum(np.searchsorted(level.keys, key), max(0, len(level.keys) - 1))
            has = (
                known & (level.keys[place] == key)
                if len(level.keys) and user >= 0
                else np.zeros(len(level_codes), bool)
            )
            found[has, at * width : at * width + len(LEVEL_FEATURES)] = level.values[place[has]]
            events, buyers = (
                level.totals[np.maximum(kind, 0)].T if len(level.totals) else np.zeros((2, len(level_codes)))
            )
            count = found[:, at * width]
            found[:, at * width + len(LEVEL_FEATURES)] = np.where(known, count / active / (events / whole + 1e-6), 0.0)
            found[:, at * width + len(LEVEL_FEATURES) + 1] = np.where(known, buyers, 0.0)
        found[:, len(LEVELS) * width : -1] = own
        found[:, -1] = np.where(np.isfinite(prices), prices, -1.0)
        return found


def build(
    events: Interactions,
    level_codes: Ints,
    prices: NDArray[np.float64],
    first_seen_at: NDArray[np.float64],
    until: float,
) -> Affinities:
    """From the events before ``until``; ``codes`` (items, levels), ``prices`` and ``first`` (items,), see ``first_seen``."""
    before = events.time < until
    user = events.user[before]
    item = events.item[before]
    time = events.time[before]
    weight = events.weight[before]
    users = len(events.users)
    age = time - first_seen_at[item]
    lately = time > until - _RECENCY_WINDOW
    tried = time > until - _TRIAL_WINDOW
    firsts = (tried & (age < _FIRST_PURCHASE_WINDOW)).astype(np.float64)
    pairs = np.unique(user.astype(np.int64) * len(level_codes) + item)
    of_user = pairs // len(level_codes)
    of_item = pairs % len(level_codes)
    last = np.full(users, until - _MAX_INACTIVITY)
    came = np.full(users, until)
    np.maximum.at(last, user, time)
    np.minimum.at(came, user, time)
    counted = [
        np.bincount(user, weight, users),
        np.bincount(user, weight * lately, users),
        np.bincount(user, firsts, users),
        np.bincount(user, tried & (age < _NEW_PRODUCT_AGE), users),
        np.bincount(of_user, minlength=users),
        (until - last) / DAY,
        (until - came) / DAY,
        np.bincount(user, weight * np.nan_to_num(prices[item]), users),
    ]
    fading = weight * np.exp(-(until - time) / _DECAY_SECONDS)
    levels = []
    for column in level_codes.T:
        kinds = int(column.max(initial=-1)) + 1
        known = column[item] >= 0
        key, place = np.unique(column[item][known].astype(np.int64) * users + user[known], return_inverse=True)
        sums = [np.bincount(place, values[known], len(key)) for values in (weight, fading, firsts)]
        has = column[of_item] >= 0
        distinct = np.searchsorted(key, column[of_item][has].astype(np.int64) * users + of_user[has])
        numbers = np.stack([sums[0], sums[1], np.bincount(distinct, minlength=len(key)), sums[2]], 1)
        starts = np.searchsorted(key // max(users, 1), np.arange(kinds + 1))
        levels.append(
            LevelAffinities(starts.astype(np.int64), (key % max(users, 1)).astype(np.int32), numbers.astype(np.float32))
        )
    return Affinities(tuple(levels), np.stack(counted, 1).astype(np.float32))


def write(affinities: Affinities, folder: Path) -> None:
    """Arrays that open by memory-mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "of_user.npy", affinities.user_features)
    for at, level in enumerate(affinities.levels):
        np.save(folder / f"starts-{at}.npy", level.starts)
        np.save(folder / f"users-{at}.npy", level.users)
        np.save(folder / f"numbers-{at}.npy", level.values.astype(np.float16))


def read(folder: Path) -> Affinities:
    """What ``write`` wrote."""

    def array(name: str) -> Any:
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    levels = (
        LevelAffinities(array(f"starts-{n}"), array(f"users-{n}"), array(f"numbers-{n}")) for n in range(len(LEVELS))
    )
    return Affinities(tuple(levels), np.load(folder / "of_user.npy"))


def write_users(events: Interactions, n_items: int, folder: Path) -> None:
    """Beside them who the users are, and which products somebody has taken: all others are new."""
    np.save(folder / "users.npy", events.users)
    np.save(folder / "sold.npy", np.bincount(events.item, minlength=n_items) > 0)


def read_users(folder: Path) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """(users,) pseudonyms, sorted, and (items,) whether somebody took a product."""
    return np.load(folder / "users.npy", mmap_mode="r"), np.load(folder / "sold.npy")
