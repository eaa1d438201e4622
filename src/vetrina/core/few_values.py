"""Columns of numbers on disk that hold few different ones, such as prices and counts: these once, and of each row which."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core import whole_numbers
from vetrina.core.whole_numbers import WholeNumbers

_MOST = 2**16  # different numbers; of more, a row's number takes hardly less than the number itself


def save(folder: Path, name: str, table: NDArray[np.floating]) -> None:
    """Write ``table`` (n,) or (n, columns) with nothing lost: numbers come back equal, and NaN where NaN was."""
    columns = table[:, None] if table.ndim == 1 else table
    coded = [np.unique(column, return_inverse=True) for column in columns.T]
    if not len(table) or max(len(values) for values, _ in coded) > min(_MOST, len(table) // 2):
        np.save(folder / f"{name}.npy", table)
        return
    np.save(folder / f"{name}.npy", np.concatenate([values for values, _ in coded]))
    np.save(_ends(folder, name), np.cumsum([len(values) for values, _ in coded]))
    for number, (_, codes) in enumerate(coded):
        whole_numbers.save(folder, f"{name}_{number}", codes)


def load(folder: Path, name: str) -> NDArray[Any]:
    """(n,) or (n, columns) of what ``save`` was given; memory-mapped where nothing was gained."""
    values = np.load(folder / f"{name}.npy", mmap_mode="r")
    if not _ends(folder, name).exists():
        return values
    parts = np.split(values, np.load(_ends(folder, name))[:-1])
    columns = [part[WholeNumbers(folder, f"{name}_{number}")[:]] for number, part in enumerate(parts)]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def _ends(folder: Path, name: str) -> Path:
    return folder / f"{name}_ends.npy"
