"""Tables of vectors in float32, int8 or int4, and their inner products with query vectors."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.onnx_session import open_session
from vetrina.bundle.quantised_table import int4
from vetrina.core.types import Floats

TABLE_FILE = "table.bin"
SCALES_FILE = "scales.npy"
GRAPH_FILE = "score.onnx"
RowSelection = NDArray[np.integer] | slice


class FloatTable:
    """Table in float32 (rows, width)."""

    def __init__(self, file: Path) -> None:
        self._table = np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._table)

    def vectors(self, rows: RowSelection = slice(None)) -> Floats:
        """Return the vectors (n, width) of some rows."""
        return np.asarray(self._table[rows])

    def inner_products(self, queries: Floats) -> Floats:
        """Return the inner products (n, rows) of some vectors (n, width) with every row."""
        return queries @ self._table.T


class QuantisedTable:
    """Table whose inner products an ONNX graph computes."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        self._scales = scales
        self._session = open_session(folder / GRAPH_FILE)

    def __len__(self) -> int:
        return len(self._scales)

    def vectors(self, rows: RowSelection = slice(None)) -> Floats:
        """Return the vectors (n, width) of some rows."""
        raise NotImplementedError

    def inner_products(self, queries: Floats) -> Floats:
        """Return the inner products (n, rows) of some vectors (n, width) with every row."""
        return self._session.run(None, {"queries": queries.astype(np.float32)})[0]


class Int8Table(QuantisedTable):
    """Table in int8 (width, rows), with one scale a row (rows,)."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        super().__init__(folder, scales)
        self._table = np.memmap(folder / TABLE_FILE, np.int8, "r").reshape(-1, len(scales))

    def vectors(self, rows: RowSelection = slice(None)) -> Floats:
        """Return the vectors (n, width) of some rows."""
        return self._table[:, rows].T.astype(np.float32) * self._scales[rows, None]


class Int4Table(QuantisedTable):
    """Table in int4 as ``int4.quantise`` packs it, with scales (rows, blocks)."""

    def __init__(self, folder: Path, scales: Floats) -> None:
        super().__init__(folder, scales)
        self._packed = np.memmap(folder / TABLE_FILE, np.uint8, "r").reshape(*scales.shape, -1)

    def vectors(self, rows: RowSelection = slice(None)) -> Floats:
        """Return the vectors (n, width) of some rows."""
        return int4.dequantise(np.asarray(self._packed[rows]), self._scales[rows])


def open_table(folder: Path, float_file: str) -> FloatTable | QuantisedTable:
    """Return the table that ``write_quantised_table`` wrote in ``folder``, else the float table ``float_file``."""
    if not (folder / SCALES_FILE).exists():
        return FloatTable(folder / float_file)
    scales = np.load(folder / SCALES_FILE)
    return Int4Table(folder, scales) if scales.ndim > 1 else Int8Table(folder, scales)
