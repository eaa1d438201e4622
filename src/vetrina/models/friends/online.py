"""Looks up what was counted for a user among friends."""

from pathlib import Path

import numpy as np

from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "several people whom you follow took it"


class Friends:
    """CSR rows by listener, memory-mapped; uint8 values come with one scale a row."""

    def __init__(self, folder: Path) -> None:
        self._users = np.load(folder / "users.npy", mmap_mode="r")
        self._starts = PackedIntegers(folder, "starts")
        self._items = np.load(folder / "items.npy", mmap_mode="r")
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales, mmap_mode="r") if scales.exists() else None
        self._n_items = int(np.load(folder / "products.npy"))

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 for who is unnamed or listens to nobody."""
        scores = np.zeros(self._n_items, np.float32)
        row = self._row(history.user)
        if row >= 0:
            of = slice(*self._starts[row : row + 2].tolist())
            scale = 1.0 if self._scales is None else float(self._scales[row])
            scores[self._items[of]] = self._values[of] * np.float32(scale)
        return scores

    def _row(self, user: str | None) -> int:
        if user is None or not len(self._users):
            return -1
        at = int(np.searchsorted(self._users, user))
        return at if at < len(self._users) and self._users[at] == user else -1


def load(folder: Path) -> Friends:
    """Read what ``train`` wrote."""
    return Friends(folder)
