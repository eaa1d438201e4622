"""The last products of a user, oldest first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interactions


@dataclass(frozen=True)
class RecentItemsState:
    """``items`` (n,) int32 and ``times`` (n,) float64 seconds, n at most ``length``."""

    items: NDArray[np.int32]
    times: NDArray[np.float64]


@dataclass(frozen=True)
class RecentItems:
    """Keeps ``length`` events."""

    length: int = 200

    def empty(self) -> RecentItemsState:
        """A user nobody has seen."""
        return RecentItemsState(np.empty(0, np.int32), np.empty(0))

    def update(self, state: RecentItemsState, item: int, time: float, weight: float) -> RecentItemsState:
        """One more event; a late one takes its place in time, after those of the same moment."""
        at = int(np.searchsorted(state.times, time, side="right"))
        items = np.insert(state.items, at, np.int32(item))[-self.length :]
        return RecentItemsState(items, np.insert(state.times, at, time)[-self.length :])

    def value(self, state: RecentItemsState, now: float) -> NDArray[np.int32]:
        """The items; they do not change with time."""
        return state.items

    def batch(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """All users in CSR form: starts (users + 1,), items, times."""
        order = np.lexsort((np.arange(len(interactions)), interactions.time, interactions.user))
        user = interactions.user[order]
        starts = np.searchsorted(user, np.arange(len(interactions.users) + 1))
        rank_from_end = starts[user + 1] - np.arange(len(user))
        kept = rank_from_end <= self.length
        new_starts = np.searchsorted(user[kept], np.arange(len(interactions.users) + 1))
        return new_starts, interactions.item[order][kept], interactions.time[order][kept]
