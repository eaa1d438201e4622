"""Sparse rows of neighbours, summed for a handful of products at once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats, Ints


class Neighbours:
    """CSR rows, memory-mapped: ``starts`` (items + 1,), ``items``, ``values``; uint8 values come with ``scales`` (items,)."""

    def __init__(self, folder: Path) -> None:
        self._starts = np.load(folder / "starts.npy", mmap_mode="r")
        self._items = np.load(folder / "items.npy", mmap_mode="r")
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales, mmap_mode="r") if scales.exists() else None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def sum(self, rows: Ints, weights: NDArray[np.floating]) -> Floats:
        """(items,) float32: sum over ``rows`` (n,) of weight * row."""
        starts, ends = self._starts[rows], self._starts[rows + 1]
        lengths = ends - starts
        total = int(lengths.sum())
        if total == 0:
            return np.zeros(len(self), np.float32)
        # One index run over all rows: row starts repeated, plus the place inside the row.
        before = np.cumsum(lengths) - lengths
        at = np.repeat(starts - before, lengths) + np.arange(total)
        scaled = weights if self._scales is None else weights * self._scales[rows]
        values = self._values[at] * np.repeat(scaled, lengths)
        return np.bincount(self._items[at], values, minlength=len(self)).astype(np.float32)


def quantize(source: Path, into: Path, keep: float = 1.0) -> None:
    """Values to uint8 with one scale a row; the smallest value stays 1, so that no neighbour is lost.

    Before that, of each row only the ``keep`` share with the largest values stays: fewer neighbours are less work, too.
    """
    starts, items, values = (np.load(source / f"{name}.npy") for name in ("starts", "items", "values"))
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if keep < 1.0:
        kept = _largest(rows, values, starts, keep)
        rows, items, values = rows[kept], items[kept], values[kept]
        starts = np.searchsorted(rows, np.arange(len(starts))).astype(starts.dtype)
    largest = np.zeros(len(starts) - 1, np.float32)
    np.maximum.at(largest, rows, values)
    scales = np.where(largest > 0, largest / 255.0, 1.0).astype(np.float32)
    np.save(into / "values.npy", np.rint(values / scales[rows]).clip(1, 255).astype(np.uint8))
    for name, array in {"scales": scales, "starts": starts, "items": items}.items():
        np.save(into / f"{name}.npy", array)


def _largest(rows: NDArray[np.integer], values: Floats, starts: NDArray[np.integer], keep: float) -> NDArray[np.intp]:
    """Places, in their order, of the ``keep`` share of each row that has the largest values; at least one."""
    order = np.lexsort((-values, rows))
    place = np.arange(len(rows)) - starts[rows]  # sorted by row, rows lie where they lay
    most = np.ceil(keep * np.diff(starts))[rows]
    return np.sort(order[place < most])
