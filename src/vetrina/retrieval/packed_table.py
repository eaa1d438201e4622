"""A table of vectors that every product is compared with: whole, or in 8 or 4 bits a number.

Small tables lie once on disk: the graph that multiplies them maps the same bytes from which single rows are read.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.onnx_session import session
from vetrina.core.types import Floats
from vetrina.retrieval import nibbles

BYTES, SCALES, GRAPH = "table.bin", "scales.npy", "score.onnx"
Rows = NDArray[np.integer] | slice


class Whole:
    """float32 (rows, width)."""

    def __init__(self, file: Path) -> None:
        self._table = np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._table)

    def vectors(self, rows: Rows = slice(None)) -> Floats:
        """(n, width) of some rows."""
        return np.asarray(self._table[rows])

    def products(self, asked: Floats) -> Floats:
        """(n, rows) of some vectors (n, width) with every row."""
        return asked @ self._table.T


class Packed:
    """What both small forms share: the graph that multiplies."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        self._scales, self._score = scales, session(folder / GRAPH)

    def __len__(self) -> int:
        return len(self._scales)

    def vectors(self, rows: Rows = slice(None)) -> Floats:
        """(n, width) of some rows."""
        raise NotImplementedError

    def products(self, asked: Floats) -> Floats:
        """(n, rows) of some vectors (n, width) with every row."""
        return self._score.run(None, {"asked": asked.astype(np.float32)})[0]


class Eight(Packed):
    """int8 (width, rows), one scale a row (rows,)."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        super().__init__(folder, scales)
        self._table = np.memmap(folder / BYTES, np.int8, "r").reshape(-1, len(scales))

    def vectors(self, rows: Rows = slice(None)) -> Floats:
        """(n, width) of some rows."""
        return self._table[:, rows].T.astype(np.float32) * self._scales[rows, None]


class Four(Packed):
    """As ``nibbles`` packs (rows, width), with scales (rows, blocks)."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        super().__init__(folder, scales)
        self._pairs = np.memmap(folder / BYTES, np.uint8, "r").reshape(*scales.shape, -1)

    def vectors(self, rows: Rows = slice(None)) -> Floats:
        """(n, width) of some rows."""
        return nibbles.unpacked(np.asarray(self._pairs[rows]), self._scales[rows])


def opened(folder: Path, whole: str) -> Whole | Packed:
    """What ``layers.packed_table`` wrote, or the float table of that name."""
    if not (folder / SCALES).exists():
        return Whole(folder / whole)
    scales = np.load(folder / SCALES)
    return Four(folder, scales) if scales.ndim > 1 else Eight(folder, scales)
