"""Sparse rows of neighbours, summed for a handful of products at once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import whole_numbers
from vetrina.core.errors import Unfit
from vetrina.core.types import Floats, Ints
from vetrina.core.whole_numbers import WholeNumbers

LEAST = 10  # neighbours that a row keeps, if it has them
PAGE = 65_536  # items whose numbers differ in their last 16 bits alone


class Neighbours:
    """CSR rows, memory-mapped: ``starts`` (items + 1,), ``items``, ``values``; uint8 values come with ``scales`` (items,).

    Where ``items`` are uint16, each row is cut into one part for every PAGE of items, and ``starts`` are those of the parts.
    """

    def __init__(self, folder: Path) -> None:
        self._starts = WholeNumbers(folder, "starts")
        self._items = np.load(folder / "items.npy", mmap_mode="r")
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales, mmap_mode="r") if scales.exists() else None
        parts = len(self._starts) - 1
        self._pages = parts // max(1, len(self._scales)) if self._scales is not None else 1

    def __len__(self) -> int:
        return (len(self._starts) - 1) // self._pages

    def sum(self, rows: Ints, weights: NDArray[np.floating]) -> Floats:
        """(items,) float32: sum over ``rows`` (n,) of weight * row."""
        scaled = weights if self._scales is None else weights * self._scales[rows]
        page = np.tile(np.arange(self._pages), len(rows))
        parts, scaled = np.repeat(rows * self._pages, self._pages) + page, np.repeat(scaled, self._pages)
        starts = self._starts[parts].astype(np.intp)
        lengths = self._starts[parts + 1] - starts
        total = int(lengths.sum())
        if total == 0:
            return np.zeros(len(self), np.float32)
        # One index run over all parts: their starts repeated, plus the place inside the part.
        before = np.cumsum(lengths) - lengths
        at = np.repeat(starts - before, lengths) + np.arange(total)
        items = self._items[at] if self._pages == 1 else self._items[at] + np.repeat(page * PAGE, lengths)
        values = self._values[at] * np.repeat(scaled, lengths)
        return np.bincount(items, values, minlength=len(self)).astype(np.float32)


def pack(source: Path, into: Path, keep: float = 1.0) -> None:
    """``quantize`` for rows of as many items as there are rows, with two bytes an item instead of four."""
    starts, items, values, scales = _rounded(source, keep)
    rows = np.repeat(np.arange(len(scales)), np.diff(starts))
    pages = max(1, -(-len(scales) // PAGE))
    part = rows * pages + items // PAGE
    lengths = np.bincount(part, minlength=len(scales) * pages)
    starts = np.append(0, np.cumsum(lengths))
    place = np.empty(len(items), np.int64)
    for page in range(pages):  # in the order of rows already, so that nothing has to be sorted
        here = np.flatnonzero(items // PAGE == page)
        before = np.cumsum(lengths[page::pages]) - lengths[page::pages]
        place[here] = starts[part[here]] + np.arange(len(here)) - before[rows[here]]
    few, worth = np.empty(len(items), np.uint16), np.empty(len(items), np.uint8)
    few[place], worth[place] = items % PAGE, values
    _write(into, starts, few, worth, scales)


def quantize(source: Path, into: Path, keep: float = 1.0) -> None:
    """Values to uint8 with one scale a row; the smallest value stays 1, so that no neighbour is lost.

    Before that, of each row only the ``keep`` share with the largest values stays: fewer neighbours are less work, too.
    """
    _write(into, *_rounded(source, keep))


def _rounded(
    source: Path, keep: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
    starts, items, values = (np.load(source / f"{name}.npy") for name in ("starts", "items", "values"))
    if not np.isfinite(values).all():
        raise Unfit("its neighbours are worth what is no number")
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if keep < 1.0:
        kept = _largest(rows, values, starts, keep)
        rows, items, values = rows[kept], items[kept], values[kept]
        starts = np.searchsorted(rows, np.arange(len(starts))).astype(starts.dtype)
    largest = np.zeros(len(starts) - 1, np.float32)
    np.maximum.at(largest, rows, values)
    scales = np.where(largest > 0, largest / 255.0, 1.0).astype(np.float32)
    return starts, items, np.rint(values / scales[rows]).clip(1, 255).astype(np.uint8), scales


def _write(into: Path, starts: np.ndarray, items: np.ndarray, values: np.ndarray, scales: np.ndarray) -> None:
    whole_numbers.save(into, "starts", starts)
    for name, array in {"scales": scales, "items": items, "values": values}.items():
        np.save(into / f"{name}.npy", array)


def _largest(rows: NDArray[np.integer], values: Floats, starts: NDArray[np.integer], keep: float) -> NDArray[np.intp]:
    """Places, in their order, of the ``keep`` share of each row that has the largest values; at least LEAST."""
    order = np.lexsort((-values, rows))
    place = np.arange(len(rows)) - starts[rows]  # sorted by row, rows lie where they lay
    most = np.maximum(np.ceil(keep * np.diff(starts)), LEAST)[rows]
    return np.sort(order[place < most])
