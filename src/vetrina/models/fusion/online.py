"""Products near any of those that a user took last, by all that is known of them."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints
from vetrina.retrieval import nibbles

REASON = "like what you looked at"
MOST, FADE = 5, 0.85


class Fusion:
    """``vectors`` (items, width), memory-mapped: float32, int8 with ``scales`` (items,), or as ``nibbles`` packs them."""

    def __init__(self, folder: Path) -> None:
        self._vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales) if scales.exists() else None
        self._whole: Floats | None = None

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, items: np.ndarray | slice = slice(None)) -> Floats:
        """(n, width) float32 of some products."""
        found = np.asarray(self._vectors[items])
        if self._scales is not None and self._scales.ndim > 1:
            return nibbles.unpacked(found, self._scales[items])
        found = found.astype(np.float32)
        return found if self._scales is None else found * self._scales[items][:, None]

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 to 1: the largest likeness to one of the last products, those before the last faded."""
        if self._whole is None:
            self._whole = self.vectors()
        return _likeness(self._whole, self._whole[_last(history)])

    def score_of(self, history: History, items: Ints) -> Floats:
        """(n,) what ``score`` says of some products, read from the file."""
        return _likeness(self.vectors(items), self.vectors(_last(history)))


def _last(history: History) -> Ints:
    """At most MOST distinct products, the newest first."""
    return np.array(list(dict.fromkeys(history.items[::-1].tolist()))[:MOST], np.int32)


def _likeness(vectors: Floats, last: Floats) -> Floats:
    if not len(last):
        return np.zeros(len(vectors), np.float32)
    asked = last * (FADE ** np.arange(len(last), dtype=np.float32))[:, None]
    return np.maximum((vectors @ asked.T).max(axis=1), 0.0)


def open(folder: Path) -> Fusion:
    """Read what ``train`` wrote."""
    return Fusion(folder)
