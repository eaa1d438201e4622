"""Finds the visits nearest to this one and sums what was taken in them."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.core.whole_numbers import WholeNumbers

REASON = "visits that went like yours went on to this"
BREAK = 30 * 60.0
_LAST = 20


class Sessions:
    """Visits and products in both directions, memory-mapped.

    near(visit) = worth * sum over the last products q in it of fade ** age_q * rarity_q; score = sum of near over the nearest.
    """

    def __init__(self, folder: Path) -> None:
        self._taken = Rows(folder, "visit_starts", "visit_items")
        self._visits = Rows(folder, "item_starts", "item_visits")
        self._worth, self._rarity = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("worth", "rarity"))
        chosen = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._fade, self._neighbours = float(chosen["fade"]), int(chosen["neighbours"])
        self._whole = bool(chosen["whole"])

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 for what was in none of the nearest visits."""
        asked = self._asked(history)
        weight = self._fade ** np.arange(len(asked)) * self._rarity[asked]
        visits, which = self._visits.of(asked)
        near = np.bincount(visits, weight[which], minlength=len(self._worth)) * self._worth
        found = np.flatnonzero(near)
        if len(found) > self._neighbours:
            found = found[np.argpartition(-near[found], self._neighbours)[: self._neighbours]]
        taken, of = self._taken.of(found)
        return np.bincount(taken, near[found][of], minlength=len(self._rarity)).astype(np.float32)

    def _asked(self, history: History) -> NDArray[np.int32]:
        """Distinct products of this visit, newest first."""
        items = history.items[-_LAST:]
        if not self._whole and len(items):
            apart = np.flatnonzero(np.diff(history.times[-_LAST:]) > BREAK)
            items = items[int(apart[-1]) + 1 if len(apart) else 0 :]
        newest = items[::-1]
        _, first = np.unique(newest, return_index=True)
        return newest[np.sort(first)]


class Rows:
    """Lists of whole numbers, one after the other, and where each begins."""

    def __init__(self, folder: Path, starts: str, values: str) -> None:
        self._starts, self._values = WholeNumbers(folder, starts), WholeNumbers(folder, values)

    def of(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
        """The values of some rows one after the other, and for each the place of its row in ``rows``."""
        first = self._starts[rows].astype(np.intp)
        lengths = self._starts[rows + 1] - first
        before = np.cumsum(lengths) - lengths
        at = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
        return self._values[at], np.repeat(np.arange(len(rows)), lengths)


def open(folder: Path) -> Sessions:
    """Read what ``train`` wrote."""
    return Sessions(folder)
