"""Every user's feature states in one bundle part, and the History that models score."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import whole_numbers
from vetrina.core.clock import DAY
from vetrina.core.number_lists import SortedLists, save_sorted
from vetrina.core.protocols import History
from vetrina.core.types import Interactions
from vetrina.core.whole_numbers import WholeNumbers
from vetrina.features.decayed_counts import DecayedCounts
from vetrina.features.decayed_counts import State as Counts
from vetrina.features.recent_items import RecentItems
from vetrina.features.recent_items import State as Recent

COUNTS = DecayedCounts(half_life=104 * DAY)
RECENT = RecentItems(length=256)


def write(past: Interactions | None, folder: Path) -> None:
    """The batch form of both features at ``past.until``."""
    folder.mkdir(parents=True, exist_ok=True)
    if past is None:
        none = np.empty(0, np.int32)
        past = Interactions(np.empty(0, np.str_), none, none, np.empty(0), np.empty(0, np.float32), 0.0)
    recent_starts, recent_items, recent_times = RECENT.batch(past)
    count_starts, count_items, counts = COUNTS.batch(past)
    begun, since = _whole(recent_times)
    moments = _moments(since, recent_starts)
    parts = {
        "users": np.char.encode(past.users, "utf-8"),  # whose order is that of the names
        "until": np.array(past.until),
        "logged": np.array(past.logged),
        "begun": np.array(begun),
        "recent_times": since if moments is None else since[moments],
        "counts": counts.astype(np.float32),
    }
    for name, values in parts.items():
        np.save(folder / f"{name}.npy", values)
    whole_numbers.save(folder, "recent_starts", recent_starts)
    whole_numbers.save(folder, "recent_items", recent_items)
    if moments is not None:
        whole_numbers.save(folder, "recent_moments", moments)
    save_sorted(folder, "counted", np.diff(count_starts), count_items)


def _whole(times: NDArray[np.float64]) -> tuple[float, NDArray[np.floating] | NDArray[np.uint32]]:
    """A time, and the seconds of each since then in half of the bytes; where they have fractions, the times as they are."""
    begun = float(times.min(initial=np.inf))
    if len(times) and times.max() - begun < 2**32:
        since = (times - begun).astype(np.uint32)
        if (begun + since == times).all():
            return begun, since
    return 0.0, times


def _moments(times: NDArray[np.generic], starts: NDArray[np.integer]) -> NDArray[np.intp] | None:
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
        self._starts = WholeNumbers(folder, "recent_starts")[:]
        self._items, self._times = WholeNumbers(folder, "recent_items"), _Times(folder)
        self._counted = SortedLists(folder, "counted")
        self._counts = np.asarray(np.load(folder / "counts.npy", mmap_mode="r"))
        self._begun = float(np.load(folder / "begun.npy"))
        self.until = float(np.load(folder / "until.npy"))
        self.logged = int(np.load(folder / "logged.npy"))

    def __len__(self) -> int:
        return len(self._users)

    def users(self, most: int) -> list[str]:
        """At most ``most`` users, evenly spread."""
        some = self._users[:: max(1, -(-len(self) // most))]
        return [name.decode() for name in some.tolist()]

    def __contains__(self, user: str) -> bool:
        return self._row(user) >= 0

    def of(self, user: str | None, new: Iterable[tuple[int, float, float]], now: float) -> History:
        """States from the bundle with ``new`` (item, time, weight) events folded in."""
        recent, counts = self._states(user)
        for item, time, weight in new:
            recent = RECENT.update(recent, item, time, weight)
            counts = COUNTS.update(counts, item, time, weight)
        return History(recent.items, recent.times, counts.items, COUNTS.value(counts, now), now, user)

    def _states(self, user: str | None) -> tuple[Recent, Counts]:
        row = -1 if user is None else self._row(user)
        if row < 0:
            return RECENT.empty(), COUNTS.empty(self.until)
        first, end = self._starts[row : row + 2].tolist()
        recent = Recent(self._items[first:end], self._begun + self._times.between(first, end))
        counted = self._counted.of(np.array([row]))
        counts = self._counts[counted.places].astype(np.float64)
        return recent, Counts(counted.numbers.astype(np.int32), counts, self.until)

    def _row(self, user: str) -> int:
        name = user.encode("utf-8", "surrogatepass")
        if not len(self) or len(name) > self._users.itemsize:  # numpy would widen all of them to compare
            return -1
        at = int(self._users.searchsorted(np.array(name, self._users.dtype)))
        return at if at < len(self) and self._users[at] == name else -1


class _Times:
    """When each event was; of those that follow each other at one moment, as in a basket, the time stands once."""

    def __init__(self, folder: Path) -> None:
        self._times = np.asarray(np.load(folder / "recent_times.npy", mmap_mode="r"))
        each = not (folder / "recent_moments.npy").exists()
        self._moments = None if each else WholeNumbers(folder, "recent_moments")[:]

    def between(self, first: int, end: int) -> NDArray[np.float64]:
        """(end - first,) of the events from ``first`` on, which is the first of a user."""
        if self._moments is None:
            return self._times[first:end].astype(np.float64)
        begin, after = np.searchsorted(self._moments, [first, end]).tolist()
        lengths = np.diff(np.append(self._moments[begin:after], end))
        return np.repeat(self._times[begin:after].astype(np.float64), lengths)
