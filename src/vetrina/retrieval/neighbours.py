"""Sparse rows of neighbours, summed for a handful of products at once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.elias_fano import EliasFanoLists, PlainLists, save_elias_fano
from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats, Ints

MIN_NEIGHBOURS = 10  # neighbours that a row keeps, if it has them


class Neighbours:
    """Rows of neighbours, memory-mapped.

    As they are learnt: CSR rows ``starts`` (items + 1,), ``items``, ``values``, best first. Packed: ``items`` as sorted lists,
    whose uint8 ``values`` come with one of ``scales`` for each row that has any.
    """

    def __init__(self, folder: Path) -> None:
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        self._lists: PlainLists | EliasFanoLists
        self._scale: Floats | None = None  # (items,) of the packed form
        if (folder / "starts.npy").exists():
            self._lists = PlainLists(PackedIntegers(folder, "starts"), np.load(folder / "items.npy", mmap_mode="r"))
        else:
            self._lists = EliasFanoLists(folder, "items")
            self._scale = np.zeros(len(self._lists), np.float32)
            self._scale[self._lists.lengths > 0] = np.load(folder / "scales.npy")

    def __len__(self) -> int:
        return len(self._lists)

    def weighted_sum(self, rows: Ints, weights: NDArray[np.floating]) -> Floats:
        """(items,) float32: sum over ``rows`` (n,) of weight * row."""
        found = self._lists.take(rows)
        if not len(found.values):
            return np.zeros(len(self), np.float32)
        scaled = weights if self._scale is None else weights * self._scale[rows]
        values = self._values[found.indices] * np.repeat(scaled, found.lengths)
        return np.bincount(found.values, values, minlength=len(self)).astype(np.float32)


def pack(source: Path, into: Path, keep_share: float = 1.0) -> None:
    """``quantize`` for rows of as many items as there are rows, each in the order of its items."""
    starts, items, values, scales = _quantised_rows(source, keep_share)
    lengths = np.diff(starts)
    order = np.argsort(np.repeat(np.arange(len(lengths)), lengths) * len(lengths) + items)
    save_elias_fano(into, "items", lengths, items[order])
    np.save(into / "values.npy", values[order])
    np.save(into / "scales.npy", scales[lengths > 0])


def quantise(source: Path, into: Path, keep_share: float = 1.0) -> None:
    """Values to uint8 with one scale a row; the smallest value stays 1, so that no neighbour is lost.

    Before that, of each row only the ``keep`` share with the largest values stays: fewer neighbours are less work, too.
    """
    starts, items, values, scales = _quantised_rows(source, keep_share)
    bit_packing.save(into, "starts", starts)
    for name, array in {"scales": scales, "items": items, "values": values}.items():
        np.save(into / f"{name}.npy", array)


def _quantised_rows(
    source: Path, keep: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
    starts, items, values = (np.load(source / f"{name}.npy") for name in ("starts", "items", "values"))
    if not np.isfinite(values).all():
        raise UnusableVariant("its neighbours are worth what is no number")
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if keep < 1.0:
        kept = _top_share_positions(rows, values, starts, keep)
        rows = rows[kept]
        items = items[kept]
        values = values[kept]
        starts = np.searchsorted(rows, np.arange(len(starts))).astype(starts.dtype)
    largest = np.zeros(len(starts) - 1, np.float32)
    np.maximum.at(largest, rows, values)
    scales = np.where(largest > 0, largest / 255.0, 1.0).astype(np.float32)
    return starts, items, np.rint(values / scales[rows]).clip(1, 255).astype(np.uint8), scales


def _top_share_positions(
    rows: NDArray[np.integer], values: Floats, starts: NDArray[np.integer], keep: float
) -> NDArray[np.intp]:
    """Places, in their order, of the ``keep`` share of each row that has the largest values; at least LEAST."""
    order = np.lexsort((-values, rows))
    place = np.arange(len(rows)) - starts[rows]  # sorted by row, rows lie where they lay
    most = np.maximum(np.ceil(keep * np.diff(starts)), MIN_NEIGHBOURS)[rows]
    return np.sort(order[place < most])
