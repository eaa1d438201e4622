"""Lists of whole numbers on disk, read by memory-mapping: as they are, or rising ones in about two bits more than the logarithm
of the mean gap.

Of each rising number the lower bits lie side by side; the upper ones are the places of ones in a row of bits, of which the k-th
stands at upper + k (Elias 1974, "Efficient storage and retrieval by content and address of static files"; Vigna 2013,
"Quasi-succinct indices"). The rows of bits begin at whole bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers

IntegerArray = NDArray[np.integer]
_LOWER_BIT_WIDTHS = (8, 9, 10, 12, 16)  # bits that whole numbers are kept in without waste


@dataclass(frozen=True)
class SelectedLists:
    """The ``numbers`` (n,) of some lists one after the other, their ``places`` (n,) among those of all, each list's length."""

    values: IntegerArray
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]


class PlainLists:
    """``numbers`` in any order, one list after the other; each begins at one of ``starts``, of which the last is the end."""

    def __init__(self, starts: PackedIntegers | IntegerArray, values: PackedIntegers | IntegerArray) -> None:
        self._starts = starts
        self._values = values

    def __len__(self) -> int:
        return len(self._starts) - 1

    def take(self, rows: IntegerArray) -> SelectedLists:
        """Some lists, each as often as it is asked for."""
        starts = self._starts[rows].astype(np.int64)
        lengths = self._starts[rows + 1] - starts
        places = concatenated_ranges(starts, lengths)
        return SelectedLists(self._values[places], places, lengths)


class EliasFanoLists:
    """Opens what ``save_sorted`` wrote."""

    def __init__(self, folder: Path, name: str) -> None:
        self.lengths = PackedIntegers(folder, f"{name}_lengths")[:]
        self._lower = PackedIntegers(folder, f"{name}_lower")
        self._upper = np.asarray(np.load(folder / f"{name}_upper.npy", mmap_mode="r"))
        self._lower_bits, self._max_upper = np.load(folder / f"{name}_shape.npy").tolist()
        self._starts, self._upper_starts = (
            _start_offsets(many) for many in (self.lengths, _bytes_per_list(self.lengths, self._max_upper))
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: IntegerArray) -> SelectedLists:
        """Some lists, each as often as it is asked for."""
        lengths = self.lengths[rows].astype(np.int64)
        many = _bytes_per_list(lengths, self._max_upper)
        places = concatenated_ranges(self._starts[rows], lengths)
        bits = np.unpackbits(self._upper[concatenated_ranges(self._upper_starts[rows], many)], bitorder="little")
        ones = np.flatnonzero(bits.view(bool))  # of bytes that are counted, numpy is slower by three times
        # The k-th one of a list stands at upper + k: less where its row of bits begins, and less k.
        before = 8 * (np.cumsum(many) - many) - (np.cumsum(lengths) - lengths)
        upper = ones - np.repeat(before, lengths) - np.arange(len(ones))
        return SelectedLists(upper << self._lower_bits | self._lower[places], places, lengths)


def save_elias_fano(folder: Path, name: str, lengths: IntegerArray, values: IntegerArray) -> None:
    """Write lists of so many ``numbers``, one after the other, from 0 up and not falling within a list."""
    lengths = np.asarray(lengths, np.int64)
    largest = int(values.max(initial=0))
    bits = min(_LOWER_BIT_WIDTHS, key=lambda b: b * len(values) + 8 * int(_bytes_per_list(lengths, largest >> b).sum()))
    many = _bytes_per_list(lengths, largest >> bits)
    first = np.cumsum(many) - many
    starts = np.cumsum(lengths) - lengths
    rank = np.arange(len(values)) - np.repeat(starts, lengths)
    ones = np.zeros(8 * int(many.sum()), np.uint8)
    ones[np.repeat(8 * first, lengths) + (np.asarray(values, np.int64) >> bits) + rank] = 1
    bit_packing.save(folder, f"{name}_lengths", lengths)
    bit_packing.save(folder, f"{name}_lower", np.asarray(values, np.int64) & (1 << bits) - 1)
    np.save(folder / f"{name}_upper.npy", np.packbits(ones, bitorder="little"))
    np.save(folder / f"{name}_shape.npy", np.array([bits, largest >> bits]))


def concatenated_ranges(starts: IntegerArray, lengths: IntegerArray) -> NDArray[np.int64]:
    """``first``, ``first`` + 1, ... of each run, so many as its length, one run after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _bytes_per_list(lengths: IntegerArray, max_upper: int) -> IntegerArray:
    """Of each list's row of bits, where the largest upper part is ``most``."""
    return np.where(lengths > 0, (lengths + max_upper + 7) // 8, 0)


def _start_offsets(sizes: IntegerArray) -> IntegerArray:
    """Where each list begins, in 4 bytes if that is enough: every worker holds its own."""
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    return starts.astype(np.int32) if starts.max(initial=0) < 2**31 else starts
