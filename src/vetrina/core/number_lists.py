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

from vetrina.core import whole_numbers
from vetrina.core.whole_numbers import WholeNumbers

Ints = NDArray[np.integer]
_LOWER = (8, 9, 10, 12, 16)  # bits that whole numbers are kept in without waste


@dataclass(frozen=True)
class Found:
    """The ``numbers`` (n,) of some lists one after the other, their ``places`` (n,) among those of all, each list's length."""

    numbers: Ints
    places: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Lists:
    """``numbers`` in any order, one list after the other; each begins at one of ``starts``, of which the last is the end."""

    def __init__(self, starts: WholeNumbers | Ints, numbers: WholeNumbers | Ints) -> None:
        self._starts, self._numbers = starts, numbers

    def __len__(self) -> int:
        return len(self._starts) - 1

    def of(self, rows: Ints) -> Found:
        """Some lists, each as often as it is asked for."""
        starts = self._starts[rows].astype(np.int64)
        lengths = self._starts[rows + 1] - starts
        places = runs(starts, lengths)
        return Found(self._numbers[places], places, lengths)


class SortedLists:
    """Opens what ``save_sorted`` wrote."""

    def __init__(self, folder: Path, name: str) -> None:
        self.lengths = WholeNumbers(folder, f"{name}_lengths")[:]
        self._lower = WholeNumbers(folder, f"{name}_lower")
        self._upper = np.asarray(np.load(folder / f"{name}_upper.npy", mmap_mode="r"))
        self._bits, self._most = np.load(folder / f"{name}_shape.npy").tolist()
        self._starts, self._first = (_before(many) for many in (self.lengths, _bytes(self.lengths, self._most)))

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, rows: Ints) -> Found:
        """Some lists, each as often as it is asked for."""
        lengths = self.lengths[rows].astype(np.int64)
        many, places = _bytes(lengths, self._most), runs(self._starts[rows], lengths)
        bits = np.unpackbits(self._upper[runs(self._first[rows], many)], bitorder="little")
        ones = np.flatnonzero(bits.view(bool))  # of bytes that are counted, numpy is slower by three times
        # The k-th one of a list stands at upper + k: less where its row of bits begins, and less k.
        before = 8 * (np.cumsum(many) - many) - (np.cumsum(lengths) - lengths)
        upper = ones - np.repeat(before, lengths) - np.arange(len(ones))
        return Found(upper << self._bits | self._lower[places], places, lengths)


def save_sorted(folder: Path, name: str, lengths: Ints, numbers: Ints) -> None:
    """Write lists of so many ``numbers``, one after the other, from 0 up and not falling within a list."""
    lengths = np.asarray(lengths, np.int64)
    largest = int(numbers.max(initial=0))
    bits = min(_LOWER, key=lambda b: b * len(numbers) + 8 * int(_bytes(lengths, largest >> b).sum()))
    many = _bytes(lengths, largest >> bits)
    first, starts = np.cumsum(many) - many, np.cumsum(lengths) - lengths
    rank = np.arange(len(numbers)) - np.repeat(starts, lengths)
    ones = np.zeros(8 * int(many.sum()), np.uint8)
    ones[np.repeat(8 * first, lengths) + (np.asarray(numbers, np.int64) >> bits) + rank] = 1
    whole_numbers.save(folder, f"{name}_lengths", lengths)
    whole_numbers.save(folder, f"{name}_lower", np.asarray(numbers, np.int64) & (1 << bits) - 1)
    np.save(folder / f"{name}_upper.npy", np.packbits(ones, bitorder="little"))
    np.save(folder / f"{name}_shape.npy", np.array([bits, largest >> bits]))


def runs(first: Ints, lengths: Ints) -> NDArray[np.int64]:
    """``first``, ``first`` + 1, ... of each run, so many as its length, one run after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))


def _bytes(lengths: Ints, most: int) -> Ints:
    """Of each list's row of bits, where the largest upper part is ``most``."""
    return np.where(lengths > 0, (lengths + most + 7) // 8, 0)


def _before(many: Ints) -> Ints:
    """Where each list begins, in 4 bytes if that is enough: every worker holds its own."""
    starts = np.cumsum(many, dtype=np.int64) - many
    return starts.astype(np.int32) if starts.max(initial=0) < 2**31 else starts
