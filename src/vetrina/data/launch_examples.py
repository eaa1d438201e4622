"""Training examples of the audience model: past launches, their buyers and sampled non-buyers. Training side only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats, Ints
from vetrina.core.clock import DAY
from vetrina.core.training_data import Interactions
from vetrina.features import affinities, similarity

COLUMNS = (*affinities.COLUMNS, *similarity.SIMILARITY_FEATURES)

_MAX_WINDOW_SECONDS = 14 * DAY
_MAX_WINDOWS = 8
_MIN_HISTORY_SHARE = 1 / 3  # of the log, that lies before every window
_MAX_WINDOW_SHARE = 1 / 20  # of the log, that a window spans
_MAX_LAUNCHES_PER_WINDOW = 700
_NEGATIVES_PER_LAUNCH = 150


@dataclass(frozen=True)
class LaunchExamples:
    """Pairs of a launched product and a user.

    Attributes:
        features: (n, COLUMNS) features of the user for the product before its launch.
        is_buyer: (n,) whether the user bought it in the window of its launch.
        launch_index: (n,) number of the launch, ascending.
    """

    features: Floats
    is_buyer: NDArray[np.bool_]
    launch_index: Ints

    def __len__(self) -> int:
        return len(self.is_buyer)


def launch_windows(events: Interactions) -> list[tuple[float, float]]:
    """Return (begin, end) of the newest windows of the log in seconds, newest first.

    Each spans two weeks or a twentieth of the log, whichever is shorter; the first third of the log is history only.
    """
    log_start = float(events.time.min(initial=events.until))
    log_length = events.until - log_start
    window_length = min(_MAX_WINDOW_SECONDS, log_length * _MAX_WINDOW_SHARE)
    if window_length <= 0:
        return []
    first_begin = log_start + _MIN_HISTORY_SHARE * log_length
    windows = []
    for number in range(_MAX_WINDOWS):
        begin = events.until - (number + 1) * window_length
        end = events.until - number * window_length
        if begin >= first_begin:
            windows.append((begin, end))
    return windows


def new_item_buyers(
    events: Interactions, first_seen_at: NDArray[np.float64], begin: float, end: float
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield the items first seen in a window, each with the users who bought it in the window.

    A purchase is an event of the type with the largest weight in the log.

    Args:
        events: All events of the log.
        first_seen_at: (items,) time of each item's first event, see ``affinities.first_seen``.
        begin: Begin of the window in seconds.
        end: End of the window in seconds, not included.
    """
    is_purchase = events.weight >= float(events.weight.max(initial=0.0))
    is_inside = is_purchase & (events.time >= begin) & (events.time < end)
    first_time = first_seen_at[events.item]
    is_new = (first_time >= begin) & (first_time < end) & is_inside
    pairs = np.unique(np.stack([events.item[is_new], events.user[is_new]], 1), axis=0)
    if not len(pairs):
        return
    items, starts = np.unique(pairs[:, 0], return_index=True)
    buyers_of_items = np.split(pairs[:, 1], starts[1:])
    for item, buyers in zip(items.tolist(), buyers_of_items, strict=True):
        yield item, buyers.astype(np.int32)


def count_buyers(events: Interactions, n_items: int) -> int:
    """Return the number of pairs of a launched item and a buyer that a log has for training."""
    first_seen_at = affinities.first_seen(events, n_items)
    count = 0
    for begin, end in launch_windows(events):
        for _, buyers in new_item_buyers(events, first_seen_at, begin, end):
            count += len(buyers)
    return count


def build_examples(
    events: Interactions,
    level_codes: Ints,
    prices: NDArray[np.float64],
    vectors: Floats,
    seed: int,
) -> LaunchExamples:
    """Return for each launch its buyers and some random other users, with their features before the launch's window.

    Args:
        events: All events of the log.
        level_codes: (items, levels) category levels of each item, -1 for an unknown one.
        prices: (items,) prices, NaN where unknown.
        vectors: (items, width) content embeddings.
        seed: Seed of the sampled launches and users.
    """
    rng = np.random.default_rng(seed)
    n_items = len(level_codes)
    n_users = len(events.users)
    first_seen_at = affinities.first_seen(events, n_items)
    features = []
    is_buyer = []
    launch_index = []
    for begin, end in launch_windows(events):
        user_affinities = affinities.build(events, level_codes, prices, first_seen_at, begin)
        last_items = similarity.last_items(events, n_items, begin)
        launches = list(new_item_buyers(events, first_seen_at, begin, end))
        for number in np.sort(rng.permutation(len(launches))[:_MAX_LAUNCHES_PER_WINDOW]):
            item, buyers = launches[number]
            sample = rng.choice(n_users, min(n_users, _NEGATIVES_PER_LAUNCH), replace=False)
            non_buyers = np.setdiff1d(sample, buyers)
            users = np.concatenate([buyers, non_buyers]).astype(np.int32)
            affinity_features = user_affinities.features_for_product(level_codes[item], float(prices[item]), users)
            similarities = similarity.similarity_features(last_items[users], vectors, vectors[item])
            features.append(np.column_stack([affinity_features, similarities]))
            is_buyer.append(np.arange(len(users)) < len(buyers))
            launch_index.append(np.full(len(users), len(launch_index), np.int32))
    if not features:
        return LaunchExamples(np.empty((0, len(COLUMNS)), np.float32), np.empty(0, bool), np.empty(0, np.int32))
    return LaunchExamples(np.concatenate(features), np.concatenate(is_buyer), np.concatenate(launch_index))
