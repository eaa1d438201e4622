"""Lists of whole numbers on disk, in hardly more bits than the largest needs, read by memory-mapping."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LOW_BIT_WIDTHS = (8, 16)  # bits of a number that lie in the first file; what is above them is packed in a second one
_HIGH_BIT_WIDTHS = (1, 2, 4, 8)  # bits that fill a byte without rest


class PackedIntegers:
    """What ``save`` wrote, or an array of whole numbers that was saved as it is."""

    def __init__(self, folder: Path, name: str) -> None:
        # As plain arrays: each slice of a numpy.memmap takes some microseconds to remember its file.
        self._low = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
        second = _high_bits_path(folder, name)
        above = np.asarray(np.load(second, mmap_mode="r")) if second.exists() else np.zeros(1, np.uint8)
        self._high_width = int(above[0])
        self._high = above[1:]

    def __len__(self) -> int:
        return len(self._low)

    def __getitem__(self, indices: slice | NDArray[np.integer]) -> NDArray[np.signedinteger]:
        """(n,) of some places: int32, or int64 where numbers are larger."""
        low = self._low[indices]
        if low.dtype != np.int64:
            low = low.astype(np.int32)
        if not self._high_width:
            return low
        at = np.arange(*indices.indices(len(self))) if isinstance(indices, slice) else indices
        a_byte = 8 // self._high_width
        high = (
            self._high[at // a_byte] >> (at % a_byte * self._high_width).astype(np.uint8) & (1 << self._high_width) - 1
        )
        return low | high.astype(np.int32) << 8 * self._low.itemsize


def save(folder: Path, name: str, values: NDArray[np.integer]) -> None:
    """Write ``values`` (n,) from 0 up: a byte of each, or two, and a few bits, three bytes, or four and more."""
    bits = int(values.max(initial=0)).bit_length()
    for low in _LOW_BIT_WIDTHS:
        if bits <= low:
            np.save(folder / f"{name}.npy", values.astype(f"u{low // 8}"))
            return
        wide = next((b for b in _HIGH_BIT_WIDTHS if b >= bits - low), 0)
        if wide and (low == _LOW_BIT_WIDTHS[-1] or wide < _HIGH_BIT_WIDTHS[-1]):
            np.save(folder / f"{name}.npy", (values & (1 << low) - 1).astype(f"u{low // 8}"))
            np.save(_high_bits_path(folder, name), _pack_bits((values >> low).astype(np.uint8), wide))
            return
    np.save(folder / f"{name}.npy", values.astype(np.int32 if bits < 32 else np.int64))


def _pack_bits(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Behind one byte that says ``bits``, as many ``values`` a byte as it holds, the first one lowest."""
    a_byte = 8 // bits
    rows = np.zeros((-(-len(values) // a_byte), a_byte), np.uint8)
    rows.ravel()[: len(values)] = values
    shifted = rows << (np.arange(a_byte) * bits).astype(np.uint8)
    return np.r_[np.uint8(bits), np.bitwise_or.reduce(shifted, axis=1)]


def _high_bits_path(folder: Path, name: str) -> Path:
    return folder / f"{name}_above.npy"
