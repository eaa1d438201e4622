"""Item-to-item neighbour rows: sparse, quantised to uint8, memory-mapped.

A score is the weighted sum of the rows of a handful of items.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.bundle.elias_fano import EliasFanoLists, PlainLists, save_elias_fano
from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats, Ints

MIN_NEIGHBOURS = 10  # neighbours that a pruned row keeps, if it has them


class Neighbours:
    """Rows of neighbours, memory-mapped.

    As trained: CSR rows ``starts`` (items + 1,), ``items``, ``values``, best first. Packed: ``items`` as sorted integer lists
    (Elias-Fano) with uint8 ``values``, and one of ``scales`` for each row that is not empty.
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
        """Return the sum (items,) float32 over ``rows`` (n,) of weight * row."""
        neighbours = self._lists.take(rows)
        if not len(neighbours.values):
            return np.zeros(len(self), np.float32)
        scaled = weights if self._scale is None else weights * self._scale[rows]
        values = self._values[neighbours.indices] * np.repeat(scaled, neighbours.lengths)
        return np.bincount(neighbours.values, values, minlength=len(self)).astype(np.float32)


def pack(source: Path, into: Path, keep_share: float = 1.0) -> None:
    """Write packed rows: uint8 values as by ``quantise``, items as sorted integer lists. The matrix must be square.

    Args:
        source: Folder of the trained rows.
        into: Folder to write to.
        keep_share: Share of each row that stays, by value.

    Raises:
        UnusableVariant: The values are not finite.
    """
    starts, items, values, scales = _quantised_rows(source, keep_share)
    lengths = np.diff(starts)
    order = np.argsort(np.repeat(np.arange(len(lengths)), lengths) * len(lengths) + items)
    save_elias_fano(into, "items", lengths, items[order])
    np.save(into / "values.npy", values[order])
    np.save(into / "scales.npy", scales[lengths > 0])


def quantise(source: Path, into: Path, keep_share: float = 1.0) -> None:
    """Write rows with uint8 values and one scale a row; the smallest value is 1, so that no neighbour is lost.

    Args:
        source: Folder of the trained rows.
        into: Folder to write to.
        keep_share: Share of each row that stays, by value; fewer neighbours also score faster.

    Raises:
        UnusableVariant: The values are not finite.
    """
    starts, items, values, scales = _quantised_rows(source, keep_share)
    bit_packing.save(into, "starts", starts)
    for name, array in {"scales": scales, "items": items, "values": values}.items():
        np.save(into / f"{name}.npy", array)


def _quantised_rows(
    source: Path, keep_share: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
    starts, items, values = (np.load(source / f"{name}.npy") for name in ("starts", "items", "values"))
    if not np.isfinite(values).all():
        raise UnusableVariant("its neighbours' values are not finite")
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if keep_share < 1.0:
        positions = _top_share_positions(rows, values, starts, keep_share)
        rows = rows[positions]
        items = items[positions]
        values = values[positions]
        starts = np.searchsorted(rows, np.arange(len(starts))).astype(starts.dtype)
    largest = np.zeros(len(starts) - 1, np.float32)
    np.maximum.at(largest, rows, values)
    scales = np.where(largest > 0, largest / 255.0, 1.0).astype(np.float32)
    return starts, items, np.rint(values / scales[rows]).clip(1, 255).astype(np.uint8), scales


def _top_share_positions(
    rows: NDArray[np.integer], values: Floats, starts: NDArray[np.integer], keep_share: float
) -> NDArray[np.intp]:
    """Positions, ascending, of the ``keep_share`` largest values of each row, at least MIN_NEIGHBOURS of them."""
    order = np.lexsort((-values, rows))
    rank = np.arange(len(rows)) - starts[rows]  # as rows are sorted already, each starts where it did
    row_limit = np.maximum(np.ceil(keep_share * np.diff(starts)), MIN_NEIGHBOURS)[rows]
    return np.sort(order[rank < row_limit])
