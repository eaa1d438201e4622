"""Columns of numbers on disk that hold few different ones, such as prices and counts: these once, and of each row which."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers

_MAX_DISTINCT_VALUES = 2**16  # different numbers; of more, a row's number takes hardly less than the number itself


def save(folder: Path, name: str, table: NDArray[np.floating]) -> None:
    """Write ``table`` (n,) or (n, columns) with nothing lost: numbers come back equal, and NaN where NaN was."""
    columns = table[:, None] if table.ndim == 1 else table
    coded = [np.unique(column, return_inverse=True) for column in columns.T]
    if not len(table) or max(len(values) for values, _ in coded) > min(_MAX_DISTINCT_VALUES, len(table) // 2):
        np.save(folder / f"{name}.npy", table)
        return
    np.save(folder / f"{name}.npy", np.concatenate([values for values, _ in coded]))
    np.save(_offsets_path(folder, name), np.cumsum([len(values) for values, _ in coded]))
    for number, (_, codes) in enumerate(coded):
        bit_packing.save(folder, f"{name}_{number}", codes)


def load(folder: Path, name: str) -> NDArray[Any]:
    """(n,) or (n, columns) of what ``save`` was given; memory-mapped where nothing was gained."""
    values = np.load(folder / f"{name}.npy", mmap_mode="r")
    if not _offsets_path(folder, name).exists():
        return values
    parts = np.split(values, np.load(_offsets_path(folder, name))[:-1])
    columns = [part[PackedIntegers(folder, f"{name}_{number}")[:]] for number, part in enumerate(parts)]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def _offsets_path(folder: Path, name: str) -> Path:
    return folder / f"{name}_ends.npy"
