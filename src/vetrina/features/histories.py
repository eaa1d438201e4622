"""User histories of a bundle: recent items and decayed counts of every user.

Written by training; serving adds the events since then and gets the ``History`` that models score.

- ``users.npy`` (users,) bytes: pseudonyms in UTF-8, in ascending order.
- ``until.npy`` and ``last_seq.npy``: time and number of the log's end; events after it are not in the files.
- ``recent_starts`` (users + 1,) and ``recent_items`` bit-packed: the last items of each user, oldest first.
- ``start_time.npy`` and ``recent_times.npy``: time of each of these events after the start, uint32 seconds if that is exact.
- ``recent_time_changes`` bit-packed, if most events share their time with the one before: the events whose times are stored.
- ``count_items`` (users lists) Elias-Fano and ``counts.npy`` float32: all items of each user, and their decayed counts.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.bundle.elias_fano import EliasFanoLists, save_elias_fano
from vetrina.core.clock import DAY
from vetrina.core.protocols import History
from vetrina.core.types import Interactions
from vetrina.features.decayed_counts import DecayedCounts
from vetrina.features.decayed_counts import DecayedCountsState as Counts
from vetrina.features.recent_items import RecentItems
from vetrina.features.recent_items import RecentItemsState as Recent

DECAYED_COUNTS = DecayedCounts(half_life=104 * DAY)
RECENT_ITEMS = RecentItems(length=256)
_UINT32_SECONDS = 2**32  # span of times that seconds in 32 bits can hold


def write(interactions: Interactions | None, folder: Path) -> None:
    """Write recent items and decayed counts of all users at ``interactions.until``."""
    folder.mkdir(parents=True, exist_ok=True)
    if interactions is None:
        interactions = _no_interactions()
    recent_starts, recent_items, recent_times = RECENT_ITEMS.batch(interactions)
    count_starts, count_items, counts = DECAYED_COUNTS.batch(interactions)
    start_time, seconds = _seconds_since_start(recent_times)
    change_indices = _time_change_indices(seconds, recent_starts)
    stored_times = seconds
    if change_indices is not None:
        stored_times = seconds[change_indices]
    arrays = {
        "users": np.char.encode(interactions.users, "utf-8"),  # sorts like the names
        "until": np.array(interactions.until),
        "last_seq": np.array(interactions.last_seq),
        "start_time": np.array(start_time),
        "recent_times": stored_times,
        "counts": counts.astype(np.float32),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    bit_packing.save(folder, "recent_starts", recent_starts)
    bit_packing.save(folder, "recent_items", recent_items)
    if change_indices is not None:
        bit_packing.save(folder, "recent_time_changes", change_indices)
    save_elias_fano(folder, "count_items", np.diff(count_starts), count_items)


def _no_interactions() -> Interactions:
    return Interactions(
        users=np.empty(0, np.str_),
        user=np.empty(0, np.int32),
        item=np.empty(0, np.int32),
        time=np.empty(0),
        weight=np.empty(0, np.float32),
        until=0.0,
    )


def _seconds_since_start(times: NDArray[np.float64]) -> tuple[float, NDArray[np.floating] | NDArray[np.uint32]]:
    """The earliest time, and each time as whole seconds since then, in half of the bytes.

    0 and the times themselves if they have fractions or span more than 32 bits.
    """
    start_time = float(times.min(initial=np.inf))
    if len(times) and times.max() - start_time < _UINT32_SECONDS:
        seconds = (times - start_time).astype(np.uint32)
        if (start_time + seconds == times).all():
            return start_time, seconds
    return 0.0, times


def _time_change_indices(times: NDArray[np.generic], starts: NDArray[np.integer]) -> NDArray[np.intp] | None:
    """Indices (m,) of each user's first event and of events whose time differs from the one before.

    None if these are most events, as in a log of clicks.
    """
    is_change = np.ones(len(times), bool)
    is_change[1:] = times[1:] != times[:-1]
    has_events = np.diff(starts) > 0
    is_change[starts[:-1][has_events]] = True
    indices = np.flatnonzero(is_change)
    if len(indices) < len(times) // 2:
        return indices
    return None


class Histories:
    """The histories that ``write`` wrote: events before ``until`` with sequence numbers up to ``last_seq``."""

    def __init__(self, folder: Path) -> None:
        self._users = np.load(folder / "users.npy", mmap_mode="r")
        self._starts = PackedIntegers(folder, "recent_starts")[:]
        self._items = PackedIntegers(folder, "recent_items")
        self._times = _EventTimes(folder)
        self._count_items = EliasFanoLists(folder, "count_items")
        self._counts = np.asarray(np.load(folder / "counts.npy", mmap_mode="r"))
        self._start_time = float(np.load(folder / "start_time.npy"))
        self.until = float(np.load(folder / "until.npy"))
        self.last_seq = int(np.load(folder / "last_seq.npy"))

    def __len__(self) -> int:
        return len(self._users)

    def sample_users(self, limit: int) -> list[str]:
        """Return at most ``limit`` users, evenly spread over the sorted pseudonyms."""
        step = max(1, -(-len(self) // limit))  # rounded up
        return [name.decode() for name in self._users[::step].tolist()]

    def __contains__(self, user: str) -> bool:
        return self._row_of(user) >= 0

    def history_of(self, user: str | None, new_events: Iterable[tuple[int, float, float]], now: float) -> History:
        """Return the history of a user at ``now``, updated by the events since the bundle was written.

        Args:
            user: Pseudonym of the user; None for an anonymous visitor.
            new_events: (item, time in seconds, weight) of each event since then.
            now: Time in seconds to which the counts decay.
        """
        recent, counts = self._states(user)
        for item, time, weight in new_events:
            recent = RECENT_ITEMS.update(recent, item, time, weight)
            counts = DECAYED_COUNTS.update(counts, item, time, weight)
        return History(recent.items, recent.times, counts.items, DECAYED_COUNTS.value(counts, now), now, user)

    def _states(self, user: str | None) -> tuple[Recent, Counts]:
        row = -1 if user is None else self._row_of(user)
        if row < 0:
            return RECENT_ITEMS.empty(), DECAYED_COUNTS.empty(self.until)
        first, end = self._starts[row : row + 2].tolist()
        times = self._start_time + self._times.between(first, end)
        recent = Recent(self._items[first:end], times)
        counted = self._count_items.take(np.array([row]))
        counts = self._counts[counted.indices].astype(np.float64)
        return recent, Counts(counted.values.astype(np.int32), counts, self.until)

    def _row_of(self, user: str) -> int:
        """Row of a user, -1 for an unknown one."""
        name = user.encode("utf-8", "surrogatepass")
        # A longer name would make numpy widen all names to compare them.
        if not len(self) or len(name) > self._users.itemsize:
            return -1
        row = int(self._users.searchsorted(np.array(name, self._users.dtype)))
        if row < len(self) and self._users[row] == name:
            return row
        return -1


class _EventTimes:
    """Times of all events; those that follow each other at one moment, as in a basket, are stored once."""

    def __init__(self, folder: Path) -> None:
        self._times = np.asarray(np.load(folder / "recent_times.npy", mmap_mode="r"))
        self._change_indices: NDArray[np.integer] | None = None
        if (folder / "recent_time_changes.npy").exists():
            self._change_indices = PackedIntegers(folder, "recent_time_changes")[:]

    def between(self, first: int, end: int) -> NDArray[np.float64]:
        """Return the times (end - first,) of one user's events, in seconds since the start time.

        Args:
            first: Number of the user's first event.
            end: Number after the user's last event.
        """
        if self._change_indices is None:
            return self._times[first:end].astype(np.float64)
        first_change, end_change = np.searchsorted(self._change_indices, [first, end]).tolist()
        changes = self._change_indices[first_change:end_change]
        lengths = np.diff(np.append(changes, end))
        return np.repeat(self._times[first_change:end_change].astype(np.float64), lengths)
