"""Products that were launched before, and who of all users bought them: what a launch can be learnt from. Training side only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.types import Floats, Interactions, Ints
from vetrina.features import affinities, likeness

COLUMNS = (*affinities.COLUMNS, *likeness.COLUMNS)

_LENGTH, _WINDOWS, _LEAST_BEFORE, _SHORTEST = 14 * DAY, 8, 1 / 3, 1 / 20
_MOST_LAUNCHES, _OTHERS = 700, 150


@dataclass(frozen=True)
class Examples:
    """``features`` (n, COLUMNS), ``bought`` (n,) and the number of the launch (n,), ascending."""

    features: Floats
    bought: NDArray[np.bool_]
    launch: Ints

    def __len__(self) -> int:
        return len(self.bought)


def windows(events: Interactions) -> list[tuple[float, float]]:
    """(begin, end) of the newest stretches of the log, newest first; each as long as two weeks or a twentieth of the log."""
    begin = float(events.time.min(initial=events.until))
    span = events.until - begin
    length = min(_LENGTH, span * _SHORTEST)
    found = [(events.until - (k + 1) * length, events.until - k * length) for k in range(_WINDOWS)]
    return [w for w in found if length > 0 and w[0] >= begin + _LEAST_BEFORE * span]


def buyers(
    events: Interactions, first: NDArray[np.float64], begin: float, end: float
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Products first seen in a window, and who took them in it by the strongest kind of event that the log has."""
    strongest = events.weight >= float(events.weight.max(initial=0.0))
    inside = strongest & (events.time >= begin) & (events.time < end)
    new = (first[events.item] >= begin) & (first[events.item] < end) & inside
    pairs = np.unique(np.stack([events.item[new], events.user[new]], 1), axis=0)
    if not len(pairs):
        return
    items, starts = np.unique(pairs[:, 0], return_index=True)
    for item, users in zip(items.tolist(), np.split(pairs[:, 1], starts[1:]), strict=True):
        yield item, users.astype(np.int32)


def count(events: Interactions, items: int) -> int:
    """How many buyers of launched products there are to learn from."""
    first = affinities.first_seen(events, items)
    return sum(len(users) for begin, end in windows(events) for _, users in buyers(events, first, begin, end))


def examples(events: Interactions, codes: Ints, prices: NDArray[np.float64], vectors: Floats, seed: int) -> Examples:
    """Of each launch its buyers and some users drawn by chance, as they were before the window in which it began.

    ``codes`` (items, levels), ``prices`` (items,) and ``vectors`` (items, width) say what products are.
    """
    rng, first = np.random.default_rng(seed), affinities.first_seen(events, len(codes))
    features, bought, launch, users = [], [], [], len(events.users)
    for begin, end in windows(events):
        known = affinities.build(events, codes, prices, first, begin)
        last = likeness.taken(events, len(codes), begin)
        found = list(buyers(events, first, begin, end))
        for at in np.sort(rng.permutation(len(found))[:_MOST_LAUNCHES]):
            item, took = found[at]
            others = np.setdiff1d(rng.choice(users, min(users, _OTHERS), replace=False), took)
            asked = np.concatenate([took, others]).astype(np.int32)
            like = likeness.columns(last[asked], vectors, vectors[item])
            features.append(np.column_stack([known.features(codes[item], float(prices[item]), asked), like]))
            bought.append(np.arange(len(asked)) < len(took))
            launch.append(np.full(len(asked), len(launch), np.int32))
    if not features:
        none = np.empty(0, np.int32)
        return Examples(np.empty((0, len(COLUMNS)), np.float32), none.astype(bool), none)
    return Examples(np.concatenate(features), np.concatenate(bought), np.concatenate(launch))
