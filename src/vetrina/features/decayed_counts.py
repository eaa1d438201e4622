"""Exponentially decayed counts of a user's items.

count(item, now) = sum over events e of that item of  weight_e * 2 ** (-(now - time_e) / half_life)

Exponential decay commutes with addition, so the state is one number per item at one reference time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.training_data import Interactions


@dataclass(frozen=True)
class DecayedCountsState:
    """Sorted distinct ``items`` (m,) int32 and their ``counts`` (m,) float64 at the time ``as_of`` (seconds)."""

    items: NDArray[np.int32]
    counts: NDArray[np.float64]
    as_of: float


@dataclass(frozen=True)
class DecayedCounts:
    """Decayed counts with a ``half_life`` in seconds."""

    half_life: float

    def empty(self, as_of: float) -> DecayedCountsState:
        """Return the state of a user without events."""
        return DecayedCountsState(np.empty(0, np.int32), np.empty(0), as_of)

    def update(self, state: DecayedCountsState, item: int, time: float, weight: float) -> DecayedCountsState:
        """Return ``state`` with one more event; a late one (before ``as_of``) counts as if it had come in order.

        Args:
            state: State before the event.
            item: Index of the item.
            time: Time of the event in seconds.
            weight: Weight of the event.
        """
        as_of = max(state.as_of, time)
        counts = self.value(state, as_of)
        decayed_weight = weight * 2.0 ** (-(as_of - time) / self.half_life)
        position = int(np.searchsorted(state.items, item))
        if position < len(state.items) and state.items[position] == item:
            counts[position] += decayed_weight
            return DecayedCountsState(state.items, counts, as_of)
        items = np.insert(state.items, position, np.int32(item))
        return DecayedCountsState(items, np.insert(counts, position, decayed_weight), as_of)

    def value(self, state: DecayedCountsState, now: float) -> NDArray[np.float64]:
        """Return the counts (m,) of ``state.items`` at ``now``."""
        return state.counts * 2.0 ** (-(now - state.as_of) / self.half_life)

    def batch(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Return the states of all users at ``interactions.until`` in CSR form: starts (users + 1,), items, counts."""
        n_items = int(interactions.item.max(initial=0)) + 1
        keys = interactions.user.astype(np.int64) * n_items + interactions.item
        decayed_weights = interactions.weight * 2.0 ** (-(interactions.until - interactions.time) / self.half_life)
        pairs, pair_of_event = np.unique(keys, return_inverse=True)
        counts = np.bincount(pair_of_event, decayed_weights, minlength=len(pairs)).astype(np.float64)
        first_keys = np.arange(len(interactions.users) + 1, dtype=np.int64) * n_items
        starts = np.searchsorted(pairs, first_keys)
        return starts, (pairs % n_items).astype(np.int32), counts
