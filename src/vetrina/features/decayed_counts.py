"""How often a user took each product, older times counting less.

count(item, now) = sum over events e of that item of  weight_e * 2 ** (-(now - time_e) / half_life)

Exponential decay commutes with addition, so the state is one number per item at one reference time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interactions


@dataclass(frozen=True)
class DecayedCountsState:
    """Sorted distinct ``items`` (m,) int32 and their ``counts`` (m,) float64, worth that much at ``as_of`` (seconds)."""

    items: NDArray[np.int32]
    counts: NDArray[np.float64]
    as_of: float


@dataclass(frozen=True)
class DecayedCounts:
    """``half_life`` in seconds."""

    half_life: float

    def empty(self, as_of: float) -> DecayedCountsState:
        """A user nobody has seen."""
        return DecayedCountsState(np.empty(0, np.int32), np.empty(0), as_of)

    def update(self, state: DecayedCountsState, item: int, time: float, weight: float) -> DecayedCountsState:
        """One more event; a late one (before ``as_of``) counts as much as if it had come in order."""
        as_of = max(state.as_of, time)
        counts = self.value(state, as_of)
        added = weight * 2.0 ** (-(as_of - time) / self.half_life)
        at = int(np.searchsorted(state.items, item))
        if at < len(state.items) and state.items[at] == item:
            counts[at] += added
            return DecayedCountsState(state.items, counts, as_of)
        return DecayedCountsState(np.insert(state.items, at, np.int32(item)), np.insert(counts, at, added), as_of)

    def value(self, state: DecayedCountsState, now: float) -> NDArray[np.float64]:
        """Counts (m,) of ``state.items`` at ``now``."""
        return state.counts * 2.0 ** (-(now - state.as_of) / self.half_life)

    def batch(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """The states of all users at ``past.until`` in CSR form: starts (users + 1,), items, counts."""
        width = int(interactions.item.max(initial=0)) + 1
        key = interactions.user.astype(np.int64) * width + interactions.item
        decayed = interactions.weight * 2.0 ** (-(interactions.until - interactions.time) / self.half_life)
        pairs, inverse = np.unique(key, return_inverse=True)
        counts = np.bincount(inverse, decayed, minlength=len(pairs)).astype(np.float64)
        starts = np.searchsorted(pairs, np.arange(len(interactions.users) + 1, dtype=np.int64) * width)
        return starts, (pairs % width).astype(np.int32), counts
