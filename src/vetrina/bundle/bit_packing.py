"""Bit-packed integer arrays on disk, read by memory-mapping.

Numbers of at most 8 or 16 bits lie in one file of one or two bytes each. For larger numbers the low 8 or 16 bits lie there and
the remaining high bits are packed into a second file, 8 / width numbers a byte. Numbers whose high part needs more than a byte
are saved as int32 or int64.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Bits of a number in the first file.
_LOW_BIT_WIDTHS = (8, 16)
# Bits of a number in the second file: those of which several fill a byte without a rest.
_HIGH_BIT_WIDTHS = (1, 2, 4, 8)


class PackedIntegers:
    """Opens what ``save`` wrote.

    Args:
        folder: Folder of the files.
        name: Name of the array, as given to ``save``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        # As plain arrays: each slice of a numpy.memmap takes some microseconds to remember its file.
        self._low = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
        high_path = _high_bits_path(folder, name)
        content = np.zeros(1, np.uint8)  # a width of 0: there are no high bits
        if high_path.exists():
            content = np.asarray(np.load(high_path, mmap_mode="r"))
        self._high_width = int(content[0])
        self._high = content[1:]

    def __len__(self) -> int:
        return len(self._low)

    def __getitem__(self, indices: slice | NDArray[np.integer]) -> NDArray[np.signedinteger]:
        """(n,) numbers at some indices: int32, or int64 if the array was saved as such."""
        low = self._low[indices]
        if low.dtype != np.int64:
            low = low.astype(np.int32)
        if not self._high_width:
            return low
        positions = np.arange(*indices.indices(len(self))) if isinstance(indices, slice) else indices
        per_byte = 8 // self._high_width
        shift = (positions % per_byte * self._high_width).astype(np.uint8)
        mask = (1 << self._high_width) - 1
        high = self._high[positions // per_byte] >> shift & mask
        return low | high.astype(np.int32) << 8 * self._low.itemsize


def save(folder: Path, name: str, values: NDArray[np.integer]) -> None:
    """Write an array of non-negative integers in hardly more bits than the largest one needs.

    Args:
        folder: Folder of the files.
        name: Name of the array.
        values: (n,) integers from 0 up.
    """
    bits = int(values.max(initial=0)).bit_length()
    for low_width in _LOW_BIT_WIDTHS:
        low_path = folder / f"{name}.npy"
        if bits <= low_width:
            np.save(low_path, values.astype(f"u{low_width // 8}"))
            return
        high_width = next((width for width in _HIGH_BIT_WIDTHS if width >= bits - low_width), 0)
        # A low and a high byte would be two bytes, which need no second file.
        is_plain_better = low_width != _LOW_BIT_WIDTHS[-1] and high_width == _HIGH_BIT_WIDTHS[-1]
        if high_width and not is_plain_better:
            low_mask = (1 << low_width) - 1
            high = (values >> low_width).astype(np.uint8)
            np.save(low_path, (values & low_mask).astype(f"u{low_width // 8}"))
            np.save(_high_bits_path(folder, name), _pack_bits(high, high_width))
            return
    np.save(folder / f"{name}.npy", values.astype(np.int32 if bits < 32 else np.int64))


def _pack_bits(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """One byte with the number ``bits``, then the ``values`` (n,) of so many bits each, packed from the lowest bit up."""
    per_byte = 8 // bits
    n_bytes = -(-len(values) // per_byte)
    rows = np.zeros((n_bytes, per_byte), np.uint8)
    rows.ravel()[: len(values)] = values
    shifted = rows << (np.arange(per_byte) * bits).astype(np.uint8)
    return np.r_[np.uint8(bits), np.bitwise_or.reduce(shifted, axis=1)]


def _high_bits_path(folder: Path, name: str) -> Path:
    return folder / f"{name}_high.npy"
