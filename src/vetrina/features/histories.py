"""Every user's feature states in one bundle part, and the History that models score."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.clock import DAY
from vetrina.core.elias_fano import EliasFanoLists, save_elias_fano
from vetrina.core.protocols import History
from vetrina.core.types import Interactions
from vetrina.features.decayed_counts import DecayedCounts
from vetrina.features.decayed_counts import DecayedCountsState as Counts
from vetrina.features.recent_items import RecentItems
from vetrina.features.recent_items import RecentItemsState as Recent

DECAYED_COUNTS = DecayedCounts(half_life=104 * DAY)
RECENT_ITEMS = RecentItems(length=256)


def write(interactions: Interactions | None, folder: Path) -> None:
    """The batch form of both features at ``past.until``."""
    folder.mkdir(parents=True, exist_ok=True)
    if interactions is None:
        none = np.empty(0, np.int32)
        interactions = Interactions(np.empty(0, np.str_), none, none, np.empty(0), np.empty(0, np.float32), 0.0)
    recent_starts, recent_items, recent_times = RECENT_ITEMS.batch(interactions)
    count_starts, count_items, counts = DECAYED_COUNTS.batch(interactions)
    begun, since = _seconds_since_start(recent_times)
    moments = _time_change_indices(since, recent_starts)
    parts = {
        "users": np.char.encode(interactions.users, "utf-8"),  # whose order is that of the names
        "until": np.array(interactions.until),
        "logged": np.array(interactions.last_seq),
        "begun": np.array(begun),
        "recent_times": since if moments is None else since[moments],
        "counts": counts.astype(np.float32),
    }
    for name, values in parts.items():
        np.save(folder / f"{name}.npy", values)
    bit_packing.save(folder, "recent_starts", recent_starts)
    bit_packing.save(folder, "recent_items", recent_items)
    if moments is not None:
        bit_packing.save(folder, "recent_moments", moments)
    save_elias_fano(folder, "counted", np.diff(count_starts), count_items)


def _seconds_since_start(times: NDArray[np.float64]) -> tuple[float, NDArray[np.floating] | NDArray[np.uint32]]:
    """A time, and the seconds of each since then in half of the bytes; where they have fractions, the times as they are."""
    begun = float(times.min(initial=np.inf))
    if len(times) and times.max() - begun < 2**32:
        since = (times - begun).astype(np.uint32)
        if (begun + since == times).all():
            return begun, since
    return 0.0, times


def _time_change_indices(times: NDArray[np.generic], starts: NDArray[np.integer]) -> NDArray[np.intp] | None:
    """Places (m,) where the time is another than before, or a user's first; None where most are, as in a log of clicks."""
    first = np.ones(len(times), bool)
    first[1:] = times[1:] != times[:-1]
    first[starts[:-1][np.diff(starts) > 0]] = True
    places = np.flatnonzero(first)
    return places if len(places) < len(times) // 2 else None


class Histories:
    """Opens what ``write`` wrote. Inside is what happened before ``until`` among the events up to number ``logged``."""

    def __init__(self, folder: Path) -> None:
        self._users = np.load(folder / "users.npy", mmap_mode="r")
        self._starts = PackedIntegers(folder, "recent_starts")[:]
        self._items = PackedIntegers(folder, "recent_items")
        self._times = _EventTimes(folder)
        self._counted_items = EliasFanoLists(folder, "counted")
        self._counts = np.asarray(np.load(folder / "counts.npy", mmap_mode="r"))
        self._start_time = float(np.load(folder / "begun.npy"))
        self.until = float(np.load(folder / "until.npy"))
        self.last_seq = int(np.load(folder / "logged.npy"))

    def __len__(self) -> int:
        return len(self._users)

    def sample_users(self, limit: int) -> list[str]:
        """At most ``most`` users, evenly spread."""
        some = self._users[:: max(1, -(-len(self) // limit))]
        return [name.decode() for name in some.tolist()]

    def __contains__(self, user: str) -> bool:
        return self._row_of(user) >= 0

    def history_of(self, user: str | None, new_events: Iterable[tuple[int, float, float]], now: float) -> History:
        """States from the bundle with ``new`` (item, time, weight) events folded in."""
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
        recent = Recent(self._items[first:end], self._start_time + self._times.between(first, end))
        counted = self._counted_items.take(np.array([row]))
        counts = self._counts[counted.indices].astype(np.float64)
        return recent, Counts(counted.values.astype(np.int32), counts, self.until)

    def _row_of(self, user: str) -> int:
        name = user.encode("utf-8", "surrogatepass")
        if not len(self) or len(name) > self._users.itemsize:  # numpy would widen all of them to compare
            return -1
        at = int(self._users.searchsorted(np.array(name, self._users.dtype)))
        return at if at < len(self) and self._users[at] == name else -1


class _EventTimes:
    """When each event was; of those that follow each other at one moment, as in a basket, the time stands once."""

    def __init__(self, folder: Path) -> None:
        self._times = np.asarray(np.load(folder / "recent_times.npy", mmap_mode="r"))
        each = not (folder / "recent_moments.npy").exists()
        self._change_indices = None if each else PackedIntegers(folder, "recent_moments")[:]

    def between(self, first: int, end: int) -> NDArray[np.float64]:
        """(end - first,) of the events from ``first`` on, which is the first of a user."""
        if self._change_indices is None:
            return self._times[first:end].astype(np.float64)
        begin, after = np.searchsorted(self._change_indices, [first, end]).tolist()
        lengths = np.diff(np.append(self._change_indices[begin:after], end))
        return np.repeat(self._times[begin:after].astype(np.float64), lengths)
