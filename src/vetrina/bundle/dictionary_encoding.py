"""Dictionary encoding of numeric columns with few distinct values, such as prices and counts.

The distinct values of each column are stored once, and for each row the bit-packed index of its value.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers

# Columns with more distinct values are stored as they are: an index would hardly be smaller than the value.
_MAX_DISTINCT_VALUES = 2**16


def save(folder: Path, name: str, table: NDArray[np.floating]) -> None:
    """Write a table without loss; NaN stays NaN.

    Args:
        folder: Folder of the files.
        name: Name of the table.
        table: (n,) or (n, columns).
    """
    columns = table[:, None] if table.ndim == 1 else table
    coded = [np.unique(column, return_inverse=True) for column in columns.T]
    limit = min(_MAX_DISTINCT_VALUES, len(table) // 2)
    if not len(table) or max(len(values) for values, _ in coded) > limit:
        np.save(folder / f"{name}.npy", table)
        return
    np.save(folder / f"{name}.npy", np.concatenate([values for values, _ in coded]))
    np.save(_offsets_path(folder, name), np.cumsum([len(values) for values, _ in coded]))
    for number, (_, codes) in enumerate(coded):
        bit_packing.save(folder, f"{name}_{number}", codes)


def load(folder: Path, name: str) -> NDArray[Any]:
    """The table that ``save`` wrote, (n,) or (n, columns); memory-mapped if it was stored as it is."""
    values = np.load(folder / f"{name}.npy", mmap_mode="r")
    if not _offsets_path(folder, name).exists():
        return values
    offsets = np.load(_offsets_path(folder, name))
    columns: list[NDArray[Any]] = []
    for number, distinct_values in enumerate(np.split(values, offsets[:-1])):
        codes = PackedIntegers(folder, f"{name}_{number}")[:]
        columns.append(distinct_values[codes])
    if len(columns) == 1:
        return columns[0]
    return np.column_stack(columns)


def _offsets_path(folder: Path, name: str) -> Path:
    return folder / f"{name}_ends.npy"
