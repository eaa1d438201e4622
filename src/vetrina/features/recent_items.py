"""Most recent items of a user, oldest first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.training_data import Interactions


@dataclass(frozen=True)
class RecentItemsState:
    """``items`` (n,) int32 and ``times`` (n,) float64 seconds, n at most ``length``."""

    items: NDArray[np.int32]
    times: NDArray[np.float64]


@dataclass(frozen=True)
class RecentItems:
    """The last ``length`` events of a user."""

    length: int = 200

    def empty(self) -> RecentItemsState:
        """Return the state of a user without events."""
        return RecentItemsState(np.empty(0, np.int32), np.empty(0))

    def update(self, state: RecentItemsState, item: int, time: float, weight: float) -> RecentItemsState:
        """Return ``state`` with one more event; a late one is inserted by time, after those of the same moment.

        Args:
            state: State before the event.
            item: Index of the item.
            time: Time of the event in seconds.
            weight: Weight of the event, which does not matter here.
        """
        position = int(np.searchsorted(state.times, time, side="right"))
        items = np.insert(state.items, position, np.int32(item))
        times = np.insert(state.times, position, time)
        return RecentItemsState(items[-self.length :], times[-self.length :])

    def value(self, state: RecentItemsState, now: float) -> NDArray[np.int32]:
        """Return the items (n,); they do not change with time."""
        return state.items

    def batch(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Return the states of all users in CSR form: starts (users + 1,), items, times."""
        n_events = len(interactions)
        user_numbers = np.arange(len(interactions.users) + 1)
        order = np.lexsort((np.arange(n_events), interactions.time, interactions.user))
        user = interactions.user[order]
        starts = np.searchsorted(user, user_numbers)
        rank_from_end = starts[user + 1] - np.arange(n_events)
        is_recent = rank_from_end <= self.length
        recent_starts = np.searchsorted(user[is_recent], user_numbers)
        return recent_starts, interactions.item[order][is_recent], interactions.time[order][is_recent]
