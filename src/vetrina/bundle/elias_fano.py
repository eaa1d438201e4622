"""Sorted lists of integers on disk, Elias-Fano encoded.

The lists are read by memory-mapping and take about two bits per number more than the logarithm of the mean gap. The lower
bits of each number are stored side by side. The upper bits are stored as a bit vector per list, in which the k-th one stands at
position upper + k (Elias 1974, "Efficient storage and retrieval by content and address of static files"; Vigna 2013,
"Quasi-succinct indices"). Each bit vector starts at a whole byte.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers

IntegerArray = NDArray[np.integer]
# Candidates for the number of lower bits: those that ``bit_packing`` stores without waste.
_LOWER_BIT_WIDTHS = (8, 9, 10, 12, 16)


@dataclass(frozen=True)
class SelectedLists:
    """Some lists, concatenated.

    Attributes:
        values: (n,) numbers of the lists.
        indices: (n,) index of each number among the numbers of all lists.
        lengths: (lists,) length of each list.
    """

    values: IntegerArray
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]


class EliasFanoLists:
    """Opens what ``save_elias_fano`` wrote.

    Args:
        folder: Folder of the files.
        name: Name of the lists, as given to ``save_elias_fano``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.lengths = PackedIntegers(folder, f"{name}_lengths")[:]
        self._lower = PackedIntegers(folder, f"{name}_lower")
        self._upper = np.asarray(np.load(folder / f"{name}_upper.npy", mmap_mode="r"))
        self._lower_bits, self._max_upper = np.load(folder / f"{name}_shape.npy").tolist()
        self._starts = _start_offsets(self.lengths)
        self._upper_starts = _start_offsets(_bytes_per_list(self.lengths, self._max_upper))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: IntegerArray) -> SelectedLists:
        """The lists at ``rows``, which may repeat."""
        lengths = self.lengths[rows].astype(np.int64)
        n_bytes = _bytes_per_list(lengths, self._max_upper)
        indices = concatenated_ranges(self._starts[rows], lengths)
        upper_bytes = self._upper[concatenated_ranges(self._upper_starts[rows], n_bytes)]
        bits = np.unpackbits(upper_bytes, bitorder="little")
        ones = np.flatnonzero(bits.view(bool))  # three times as fast as on an array of uint8
        # The k-th one of a list stands at upper + k: subtract the start of its bit vector, and k.
        start_bits = 8 * (np.cumsum(n_bytes) - n_bytes)
        start_ranks = np.cumsum(lengths) - lengths
        upper = ones - np.repeat(start_bits - start_ranks, lengths) - np.arange(len(ones))
        return SelectedLists(upper << self._lower_bits | self._lower[indices], indices, lengths)


def save_elias_fano(folder: Path, name: str, lengths: IntegerArray, values: IntegerArray) -> None:
    """Write sorted lists of non-negative integers, Elias-Fano encoded.

    Args:
        folder: Folder of the files.
        name: Name of the lists.
        lengths: (lists,) length of each list.
        values: Numbers of all lists, concatenated; from 0 up and not decreasing within a list.
    """
    lengths = np.asarray(lengths, np.int64)
    largest = int(values.max(initial=0))

    def size_in_bits(lower_bits: int) -> int:
        n_upper_bytes = int(_bytes_per_list(lengths, largest >> lower_bits).sum())
        return lower_bits * len(values) + 8 * n_upper_bytes

    bits = min(_LOWER_BIT_WIDTHS, key=size_in_bits)
    n_bytes = _bytes_per_list(lengths, largest >> bits)
    first_bytes = np.cumsum(n_bytes) - n_bytes
    starts = np.cumsum(lengths) - lengths
    ranks = np.arange(len(values)) - np.repeat(starts, lengths)
    upper = np.asarray(values, np.int64) >> bits
    upper_bits = np.zeros(8 * int(n_bytes.sum()), np.uint8)
    upper_bits[np.repeat(8 * first_bytes, lengths) + upper + ranks] = 1
    lower_mask = (1 << bits) - 1
    bit_packing.save(folder, f"{name}_lengths", lengths)
    bit_packing.save(folder, f"{name}_lower", np.asarray(values, np.int64) & lower_mask)
    np.save(folder / f"{name}_upper.npy", np.packbits(upper_bits, bitorder="little"))
    np.save(folder / f"{name}_shape.npy", np.array([bits, largest >> bits]))


def concatenated_ranges(starts: IntegerArray, lengths: IntegerArray) -> NDArray[np.int64]:
    """(sum of lengths,) the ranges starts[i], starts[i] + 1, ... of lengths[i] numbers each, one after the other."""
    offsets = np.cumsum(lengths) - lengths
    return np.repeat(starts - offsets, lengths) + np.arange(int(lengths.sum()))


def _bytes_per_list(lengths: IntegerArray, max_upper: int) -> IntegerArray:
    """(lists,) bytes of each list's bit vector, if the largest upper part of all lists is ``max_upper``."""
    return np.where(lengths > 0, (lengths + max_upper + 7) // 8, 0)


def _start_offsets(sizes: IntegerArray) -> IntegerArray:
    """(lists,) start of each list; int32 if that suffices, since every worker holds a copy."""
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    if starts.max(initial=0) < 2**31:
        return starts.astype(np.int32)
    return starts
