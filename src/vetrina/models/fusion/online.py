"""Products near any of those that a user took last, by all that is known of them."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "like what you looked at"
MOST, FADE = 5, 0.85


class Fusion:
    """``vectors`` (items, width), memory-mapped: float32, or int8 with ``scales`` (items,)."""

    def __init__(self, folder: Path) -> None:
        self._vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales) if scales.exists() else None
        self._whole: Floats | None = None

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, items: np.ndarray | slice = slice(None)) -> Floats:
        """(n, width) float32 of some products."""
        found = np.asarray(self._vectors[items], np.float32)
        return found if self._scales is None else found * self._scales[items][:, None]

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 to 1: the largest likeness to one of the last products, those before the last faded."""
        last = list(dict.fromkeys(history.items[::-1].tolist()))[:MOST]
        if not last:
            return np.zeros(len(self), np.float32)
        if self._whole is None:
            self._whole = self.vectors()
        asked = self._whole[last] * (FADE ** np.arange(len(last), dtype=np.float32))[:, None]
        return np.maximum((self._whole @ asked.T).max(axis=1), 0.0)


def open(folder: Path) -> Fusion:
    """Read what ``train`` wrote."""
    return Fusion(folder)
