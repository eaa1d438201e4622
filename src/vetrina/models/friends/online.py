"""Precomputed scores from the users whom a user follows."""

from pathlib import Path

import numpy as np

from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.core.protocols import History
from vetrina.core.types import Floats


class Friends:
    """CSR rows by follower, memory-mapped; uint8 values come with one scale a row."""

    def __init__(self, folder: Path) -> None:
        self._users = np.load(folder / "users.npy", mmap_mode="r")
        self._starts = PackedIntegers(folder, "starts")
        self._items = np.load(folder / "items.npy", mmap_mode="r")
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        self._scales = None
        scales_file = folder / "scales.npy"
        if scales_file.exists():
            self._scales = np.load(scales_file, mmap_mode="r")
        self._n_items = int(np.load(folder / "products.npy"))

    def score(self, history: History) -> Floats:
        """Scores (items,) float32, zeros for an anonymous user or one who follows nobody."""
        scores = np.zeros(self._n_items, np.float32)
        row = self._row(history.user)
        if row is None:
            return scores
        start, stop = self._starts[row : row + 2].tolist()
        scale = 1.0
        if self._scales is not None:
            scale = float(self._scales[row])
        scores[self._items[start:stop]] = self._values[start:stop] * np.float32(scale)
        return scores

    def _row(self, user: str | None) -> int | None:
        """The row of a follower, None for another user."""
        if user is None or not len(self._users):
            return None
        row = int(np.searchsorted(self._users, user))
        if row < len(self._users) and self._users[row] == user:
            return row
        return None


def load(folder: Path) -> Friends:
    """Opens what ``train`` or ``compress`` wrote."""
    return Friends(folder)
