"""User affinities: event counts of every user by category level, and how readily they try new products.

A model that selects users for a product gets one row of numbers a user, the same for past launches in training and for a
product without purchases in serving. There is only the batch form; it is computed anew with each bundle.

- ``user_features.npy`` (users, USER_FEATURES) float32.
- ``starts-N.npy`` (codes + 1,) int64, ``users-N.npy`` (rows,) int32 and ``values-N.npy`` (rows, 4) float16, of each category
  level N: the users of each code, and the LEVEL_FEATURES of each pair.
- ``users.npy`` (users,) pseudonyms, sorted; ``has_events.npy`` (items,) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.types import Floats, Interactions, Ints
from vetrina.features.category_levels import LEVELS

LEVEL_FEATURES = ("count", "recent count", "products", "firsts")  # of each user and code of a category level
USER_FEATURES = ("events", "recent events", "firsts", "new products", "products", "days since", "days known", "value")
_LEVEL_COLUMNS = (*LEVEL_FEATURES, "lift", "buyers")
COLUMNS = (*(f"{level}: {name}" for level in LEVELS for name in _LEVEL_COLUMNS), *USER_FEATURES, "price")
_N_LEVEL_FEATURES = len(LEVEL_FEATURES)
_EVENTS = USER_FEATURES.index("events")
_DECAY_SECONDS = 60 * DAY
_RECENCY_WINDOW = 28 * DAY
_TRIAL_WINDOW = 90 * DAY
_NEW_PRODUCT_AGE = 28 * DAY
_FIRST_PURCHASE_WINDOW = DAY
_MAX_INACTIVITY = 730 * DAY
_WARM_UP_SHARE = 1 / 3  # of the log: what is first seen before then may be older than the log
_MIN_LIFT_DENOMINATOR = 1e-6
_UNKNOWN_PRICE = -1.0


def first_seen(events: Interactions, n_items: int) -> NDArray[np.float64]:
    """Return the time of each item's first event (items,), infinite without one, minus infinity for older products.

    Many products at the start of a log are older than the log: those whose first event is in its first third (at most four
    weeks) count as older.
    """
    first = np.full(n_items, np.inf)
    np.minimum.at(first, events.item, events.time)
    if len(events):
        log_start = float(events.time.min())
        warm_up = min(_NEW_PRODUCT_AGE, _WARM_UP_SHARE * (events.until - log_start))
        first[first < log_start + warm_up] = -np.inf
    return first


@dataclass(frozen=True)
class LevelAffinities:
    """Counts by user and code of one category level, in CSR form by code.

    Attributes:
        starts: (codes + 1,) first row of each code.
        users: (n,) user of each row, ascending within a code.
        values: (n, LEVEL_FEATURES) counts.
    """

    starts: NDArray[np.int64]
    users: Ints
    values: Floats

    @cached_property
    def totals(self) -> Floats:
        """(codes, 2): events and buying users of each code."""
        n_codes = len(self.starts) - 1
        code = np.repeat(np.arange(n_codes), np.diff(self.starts))
        events = np.bincount(code, self.values[:, LEVEL_FEATURES.index("count")], n_codes)
        buyers = np.bincount(code, self.values[:, LEVEL_FEATURES.index("products")], n_codes)
        return np.stack([events, buyers], 1).astype(np.float32)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """(n,) ascending: code times 2^32, plus user."""
        code = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int64), np.diff(self.starts))
        return (code << 32) + self.users


@dataclass(frozen=True)
class Affinities:
    """Affinities by category level, in the order of ``category_levels.LEVELS``, and features (users, USER_FEATURES)."""

    levels: tuple[LevelAffinities, ...]
    user_features: Floats

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_features)

    def features_for_product(self, level_codes: Ints, price: float, users: Ints | None = None) -> Floats:
        """Return features (users, COLUMNS) float32 of users for one product.

        Args:
            level_codes: (levels,) the product's category levels, -1 for an unknown one.
            price: The product's price, NaN if it is unknown.
            users: (n,) numbers of the users; all users without them.
        """
        rows = slice(None)
        if users is not None:
            rows = users
        selected_users = self.user_features[rows]
        features = np.zeros((len(selected_users), len(COLUMNS)), np.float32)
        events_of_user = np.maximum(self.user_features[:, _EVENTS], 1.0)
        all_events = self._n_events()
        level_features = np.zeros((self.n_users, _N_LEVEL_FEATURES), np.float32)
        for number, (level, code) in enumerate(zip(self.levels, level_codes, strict=True)):
            if code < 0:
                continue
            rows_of_code = slice(int(level.starts[code]), int(level.starts[code + 1]))
            level_features[:] = 0.0
            level_features[level.users[rows_of_code]] = level.values[rows_of_code]
            code_events, code_buyers = level.totals[code]
            user_share = level_features[rows, 0] / events_of_user[rows]
            column = number * len(_LEVEL_COLUMNS)
            features[:, column : column + _N_LEVEL_FEATURES] = level_features[rows]
            features[:, column + _N_LEVEL_FEATURES] = user_share / (code_events / all_events + _MIN_LIFT_DENOMINATOR)
            features[:, column + _N_LEVEL_FEATURES + 1] = code_buyers
        features[:, len(LEVELS) * len(_LEVEL_COLUMNS) : -1] = selected_users
        features[:, -1] = _UNKNOWN_PRICE
        if np.isfinite(price):
            features[:, -1] = price
        return features

    def features_for_user(self, user: int, level_codes: Ints, prices: NDArray[np.float64]) -> Floats:
        """Return features (products, COLUMNS) float32 of one user for several products.

        The same numbers as those of ``features_for_product``.

        Args:
            user: Number of the user, -1 for a cold user.
            level_codes: (products, levels) category levels of each product, -1 for an unknown one.
            prices: (products,) prices, NaN where unknown.
        """
        n_products = len(level_codes)
        features = np.zeros((n_products, len(COLUMNS)), np.float32)
        user_features = np.zeros(len(USER_FEATURES), np.float32)
        if user >= 0:
            user_features = self.user_features[user]
        events_of_user = max(float(user_features[_EVENTS]), 1.0)
        all_events = self._n_events()
        for number, level in enumerate(self.levels):
            codes = level_codes[:, number]
            is_known = codes >= 0
            keys = (codes.astype(np.int64) << 32) + user
            row = np.minimum(np.searchsorted(level.keys, keys), max(0, len(level.keys) - 1))
            has_events = np.zeros(n_products, bool)
            if len(level.keys) and user >= 0:
                has_events = is_known & (level.keys[row] == keys)
            code_events = np.zeros(n_products)
            code_buyers = np.zeros(n_products)
            if len(level.totals):
                code_events, code_buyers = level.totals[np.maximum(codes, 0)].T
            column = number * len(_LEVEL_COLUMNS)
            features[has_events, column : column + _N_LEVEL_FEATURES] = level.values[row[has_events]]
            user_share = features[:, column] / events_of_user
            lift = user_share / (code_events / all_events + _MIN_LIFT_DENOMINATOR)
            features[:, column + _N_LEVEL_FEATURES] = np.where(is_known, lift, 0.0)
            features[:, column + _N_LEVEL_FEATURES + 1] = np.where(is_known, code_buyers, 0.0)
        features[:, len(LEVELS) * len(_LEVEL_COLUMNS) : -1] = user_features
        features[:, -1] = np.where(np.isfinite(prices), prices, _UNKNOWN_PRICE)
        return features

    def _n_events(self) -> float:
        return max(float(self.user_features[:, _EVENTS].sum()), 1.0)


def build(
    events: Interactions,
    level_codes: Ints,
    prices: NDArray[np.float64],
    first_seen_at: NDArray[np.float64],
    until: float,
) -> Affinities:
    """Return the affinities of all users by the events before ``until``.

    Args:
        events: All events of the log.
        level_codes: (items, levels) category levels of each item, -1 for an unknown one.
        prices: (items,) prices, NaN where unknown.
        first_seen_at: (items,) time of each item's first event, see ``first_seen``.
        until: Time before which events count, in seconds.
    """
    is_before = events.time < until
    user = events.user[is_before]
    item = events.item[is_before]
    time = events.time[is_before]
    weight = events.weight[is_before]
    n_users = len(events.users)
    n_items = len(level_codes)
    product_age = time - first_seen_at[item]
    is_recent = time > until - _RECENCY_WINDOW
    is_trial_window = time > until - _TRIAL_WINDOW
    first_purchases = (is_trial_window & (product_age < _FIRST_PURCHASE_WINDOW)).astype(np.float64)
    pairs = np.unique(user.astype(np.int64) * n_items + item)
    user_of_pair = pairs // n_items
    item_of_pair = pairs % n_items
    last_event = np.full(n_users, until - _MAX_INACTIVITY)
    first_event = np.full(n_users, until)
    np.maximum.at(last_event, user, time)
    np.minimum.at(first_event, user, time)
    user_features = [
        np.bincount(user, weight, n_users),
        np.bincount(user, weight * is_recent, n_users),
        np.bincount(user, first_purchases, n_users),
        np.bincount(user, is_trial_window & (product_age < _NEW_PRODUCT_AGE), n_users),
        np.bincount(user_of_pair, minlength=n_users),
        (until - last_event) / DAY,
        (until - first_event) / DAY,
        np.bincount(user, weight * np.nan_to_num(prices[item]), n_users),
    ]
    decayed_weight = weight * np.exp(-(until - time) / _DECAY_SECONDS)
    event_values = (weight, decayed_weight, first_purchases)
    levels = []
    for codes in level_codes.T:
        levels.append(_build_level(codes, n_users, user, item, event_values, user_of_pair, item_of_pair))
    return Affinities(tuple(levels), np.stack(user_features, 1).astype(np.float32))


def _build_level(
    codes: Ints,
    n_users: int,
    user: Ints,
    item: Ints,
    event_values: Sequence[NDArray[np.floating]],
    user_of_pair: NDArray[np.int64],
    item_of_pair: NDArray[np.int64],
) -> LevelAffinities:
    """Affinities of one category level.

    Args:
        codes: (items,) code of each item at this level, -1 for an unknown one.
        n_users: Number of users.
        user: (events,) user of each event.
        item: (events,) item of each event.
        event_values: (events,) weight, decayed weight and whether it is a first purchase, each an array.
        user_of_pair: (pairs,) user of each distinct pair of user and item.
        item_of_pair: (pairs,) item of each distinct pair.
    """
    n_codes = int(codes.max(initial=-1)) + 1
    is_known = codes[item] >= 0
    event_keys = codes[item][is_known].astype(np.int64) * n_users + user[is_known]
    keys, row_of_event = np.unique(event_keys, return_inverse=True)
    n_rows = len(keys)
    weight, decayed_weight, first_purchases = (
        np.bincount(row_of_event, values[is_known], n_rows) for values in event_values
    )
    pair_is_known = codes[item_of_pair] >= 0
    pair_keys = codes[item_of_pair][pair_is_known].astype(np.int64) * n_users + user_of_pair[pair_is_known]
    row_of_pair = np.searchsorted(keys, pair_keys)
    products = np.bincount(row_of_pair, minlength=n_rows)
    values = np.stack([weight, decayed_weight, products, first_purchases], 1)
    starts = np.searchsorted(keys // max(n_users, 1), np.arange(n_codes + 1))
    users = keys % max(n_users, 1)
    return LevelAffinities(starts.astype(np.int64), users.astype(np.int32), values.astype(np.float32))


def write(affinities: Affinities, folder: Path) -> None:
    """Write ``affinities`` as arrays that open by memory-mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "user_features.npy", affinities.user_features)
    for number, level in enumerate(affinities.levels):
        np.save(folder / f"starts-{number}.npy", level.starts)
        np.save(folder / f"users-{number}.npy", level.users)
        np.save(folder / f"values-{number}.npy", level.values.astype(np.float16))


def read(folder: Path) -> Affinities:
    """Return the affinities that ``write`` wrote."""

    def array(name: str) -> Any:
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    levels = [
        LevelAffinities(array(f"starts-{number}"), array(f"users-{number}"), array(f"values-{number}"))
        for number in range(len(LEVELS))
    ]
    return Affinities(tuple(levels), np.load(folder / "user_features.npy"))


def write_users(events: Interactions, n_items: int, folder: Path) -> None:
    """Write the users' pseudonyms beside the affinities, and which items have events: all others are new.

    Args:
        events: All events of the log.
        n_items: Number of items in the catalogue.
        folder: Folder of the affinities.
    """
    np.save(folder / "users.npy", events.users)
    np.save(folder / "has_events.npy", np.bincount(events.item, minlength=n_items) > 0)


def read_users(folder: Path) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the users' pseudonyms (users,), sorted, and whether each item has events (items,)."""
    return np.load(folder / "users.npy", mmap_mode="r"), np.load(folder / "has_events.npy")
