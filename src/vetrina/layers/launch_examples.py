"""Products that were launched before, and who of all users bought them: what a launch can be learnt from. Training side only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.types import Floats, Interactions, Ints
from vetrina.features import affinities, similarity

COLUMNS = (*affinities.COLUMNS, *similarity.SIMILARITY_FEATURES)

_MAX_WINDOW_SECONDS = 14 * DAY
_MAX_WINDOWS = 8
_MIN_HISTORY_SHARE = 1 / 3
_MAX_WINDOW_SHARE = 1 / 20
_MAX_LAUNCHES_PER_WINDOW = 700
_NEGATIVES_PER_LAUNCH = 150


@dataclass(frozen=True)
class LaunchExamples:
    """``features`` (n, COLUMNS), ``bought`` (n,) and the number of the launch (n,), ascending."""

    features: Floats
    is_buyer: NDArray[np.bool_]
    launch_index: Ints

    def __len__(self) -> int:
        return len(self.is_buyer)


def launch_windows(events: Interactions) -> list[tuple[float, float]]:
    """(begin, end) of the newest stretches of the log, newest first; each as long as two weeks or a twentieth of the log."""
    begin = float(events.time.min(initial=events.until))
    span = events.until - begin
    length = min(_MAX_WINDOW_SECONDS, span * _MAX_WINDOW_SHARE)
    found = [(events.until - (k + 1) * length, events.until - k * length) for k in range(_MAX_WINDOWS)]
    return [w for w in found if length > 0 and w[0] >= begin + _MIN_HISTORY_SHARE * span]


def new_item_buyers(
    events: Interactions, first_seen_at: NDArray[np.float64], begin: float, end: float
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Products first seen in a window, and who took them in it by the strongest kind of event that the log has."""
    strongest = events.weight >= float(events.weight.max(initial=0.0))
    inside = strongest & (events.time >= begin) & (events.time < end)
    new = (first_seen_at[events.item] >= begin) & (first_seen_at[events.item] < end) & inside
    pairs = np.unique(np.stack([events.item[new], events.user[new]], 1), axis=0)
    if not len(pairs):
        return
    items, starts = np.unique(pairs[:, 0], return_index=True)
    for item, users in zip(items.tolist(), np.split(pairs[:, 1], starts[1:]), strict=True):
        yield item, users.astype(np.int32)


def count_buyers(events: Interactions, n_items: int) -> int:
    """How many buyers of launched products there are to learn from."""
    first = affinities.first_seen(events, n_items)
    return sum(
        len(users) for begin, end in launch_windows(events) for _, users in new_item_buyers(events, first, begin, end)
    )


def build_examples(
    events: Interactions, level_codes: Ints, prices: NDArray[np.float64], vectors: Floats, seed: int
) -> LaunchExamples:
    """Of each launch its buyers and some users drawn by chance, as they were before the window in which it began.

    ``codes`` (items, levels), ``prices`` (items,) and ``vectors`` (items, width) say what products are.
    """
    rng = np.random.default_rng(seed)
    first = affinities.first_seen(events, len(level_codes))
    features = []
    bought = []
    launch = []
    users = len(events.users)
    for begin, end in launch_windows(events):
        known = affinities.build(events, level_codes, prices, first, begin)
        last = similarity.last_items(events, len(level_codes), begin)
        found = list(new_item_buyers(events, first, begin, end))
        for at in np.sort(rng.permutation(len(found))[:_MAX_LAUNCHES_PER_WINDOW]):
            item, took = found[at]
            others = np.setdiff1d(rng.choice(users, min(users, _NEGATIVES_PER_LAUNCH), replace=False), took)
            asked = np.concatenate([took, others]).astype(np.int32)
            like = similarity.similarity_features(last[asked], vectors, vectors[item])
            features.append(
                np.column_stack([known.features_for_product(level_codes[item], float(prices[item]), asked), like])
            )
            bought.append(np.arange(len(asked)) < len(took))
            launch.append(np.full(len(asked), len(launch), np.int32))
    if not features:
        none = np.empty(0, np.int32)
        return LaunchExamples(np.empty((0, len(COLUMNS)), np.float32), none.astype(bool), none)
    return LaunchExamples(np.concatenate(features), np.concatenate(bought), np.concatenate(launch))
