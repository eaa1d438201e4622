"""Finds the visits nearest to this one and sums what was taken in them."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import few_values
from vetrina.core.number_lists import SortedLists
from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "visits that went like yours went on to this"
BREAK = 30 * 60.0
_LAST = 20


class Sessions:
    """Visits and products in both directions, memory-mapped.

    near(visit) = worth * sum over the last products q in it of fade ** age_q * rarity_q; score = sum of near over the nearest.
    """

    def __init__(self, folder: Path) -> None:
        self._taken = SortedLists(folder, "visit_items")
        self._visits = SortedLists(folder, "item_visits")
        self._worth, self._rarity = np.load(folder / "worth.npy", mmap_mode="r"), few_values.load(folder, "rarity")
        chosen = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._fade, self._neighbours = float(chosen["fade"]), int(chosen["neighbours"])
        self._whole = bool(chosen["whole"])

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 for what was in none of the nearest visits."""
        asked = self._asked(history)
        weight = self._fade ** np.arange(len(asked)) * self._rarity[asked]
        visits = self._visits.of(asked)
        weights = np.repeat(weight, visits.lengths)
        near = np.bincount(visits.numbers, weights, minlength=len(self._worth)) * self._worth
        found = np.flatnonzero(near)
        if len(found) > self._neighbours:
            found = found[np.argpartition(-near[found], self._neighbours)[: self._neighbours]]
        taken = self._taken.of(found)
        weights = np.repeat(near[found], taken.lengths)
        return np.bincount(taken.numbers, weights, minlength=len(self._rarity)).astype(np.float32)

    def _asked(self, history: History) -> NDArray[np.int32]:
        """Distinct products of this visit, newest first."""
        items = history.items[-_LAST:]
        if not self._whole and len(items):
            apart = np.flatnonzero(np.diff(history.times[-_LAST:]) > BREAK)
            items = items[int(apart[-1]) + 1 if len(apart) else 0 :]
        newest = items[::-1]
        _, first = np.unique(newest, return_index=True)
        return newest[np.sort(first)]


def open(folder: Path) -> Sessions:
    """Read what ``train`` wrote."""
    return Sessions(folder)
