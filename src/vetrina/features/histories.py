"""Every user's feature states in one bundle part, and the History that models score."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vetrina.core.clock import DAY
from vetrina.core.protocols import History
from vetrina.core.types import Interactions
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
    parts = {
        "users": past.users,
        "until": np.array(past.until),
        "logged": np.array(past.logged),
        "recent_starts": recent_starts,
        "recent_items": recent_items,
        "recent_times": recent_times,
        "count_starts": count_starts,
        "count_items": count_items,
        "counts": counts.astype(np.float32),
    }
    for name, values in parts.items():
        np.save(folder / f"{name}.npy", values)


class Histories:
    """Opens what ``write`` wrote. Inside is what happened before ``until`` among the events up to number ``logged``."""

    def __init__(self, folder: Path) -> None:
        names = (
            "users",
            "recent_starts",
            "recent_items",
            "recent_times",
            "count_starts",
            "count_items",
            "counts",
        )
        self._part = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in names}
        self.until = float(np.load(folder / "until.npy"))
        self.logged = int(np.load(folder / "logged.npy"))

    def __len__(self) -> int:
        return len(self._part["users"])

    def users(self, most: int) -> list[str]:
        """At most ``most`` users, evenly spread."""
        names = self._part["users"]
        return [str(n) for n in names[:: max(1, -(-len(names) // most))]]

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
        part = self._part
        r = slice(int(part["recent_starts"][row]), int(part["recent_starts"][row + 1]))
        c = slice(int(part["count_starts"][row]), int(part["count_starts"][row + 1]))
        recent = Recent(np.array(part["recent_items"][r]), np.array(part["recent_times"][r]))
        return recent, Counts(np.array(part["count_items"][c]), np.array(part["counts"][c], np.float64), self.until)

    def _row(self, user: str) -> int:
        users = self._part["users"]
        at = int(np.searchsorted(users, user)) if len(users) else 0
        return at if at < len(users) and users[at] == user else -1
