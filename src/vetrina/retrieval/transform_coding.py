"""Vectors on disk by transform coding: turned to their principal axes, rounded to one step along each, in Golomb-Rice codes.

Most axes say little, so that most numbers are small (Goyal 2001, "Theoretical foundations of transform coding"). Of what lies
above an axis's ``lower`` bits, as many zeros stand before a one (Rice & Plaunt 1971, "Adaptive variable-length coding for
efficient compression of spacecraft television data"). The first LEADING axes lie in a ``dense`` index, by which the nearest are
found; products of turned vectors are those of the vectors, so nothing is turned back.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.elias_fano import concatenated_ranges
from vetrina.core.types import Floats, Ints
from vetrina.retrieval.dense import DenseIndex, build

N_INDEXED_AXES = 64
MIN_VECTORS_PER_AXIS = 8  # vectors for each axis: fewer gain hardly more bytes than the axes take
_RANGE_RMS = 6.4  # root mean squares of a number that ``bits`` bits would have to span
_ROWS_PER_BLOCK = 10_000
INDEX_FILE = "index.faiss"
AXES_FILE = "axes.npy"


def is_compressible(n_vectors: int, width: int) -> bool:
    """Whether so many vectors are worth their axes, and there are axes enough."""
    return n_vectors >= MIN_VECTORS_PER_AXIS * width and width > N_INDEXED_AXES


def write(vectors: Floats, into: Path, bits: float) -> None:
    """``vectors`` (n, width) that it ``fits``, as fine as in so many ``bits`` a number. Equal input gives an equal file."""
    moved = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(moved.T.astype(np.float64) @ moved)
    kept = axes[:, ::-1].astype(np.float16)
    turned = vectors @ kept.astype(np.float32)
    np.save(into / AXES_FILE, kept)
    build(np.ascontiguousarray(turned[:, :N_INDEXED_AXES]), into / INDEX_FILE)
    _write_residual(turned[:, N_INDEXED_AXES:], into, float(np.sqrt((vectors**2).mean())) * _RANGE_RMS / 2.0**bits)


def _write_residual(rest: Floats, into: Path, step: float) -> None:
    means = rest.mean(axis=0)
    # Of numbers that fall off geometrically about as many bits as the logarithm of their mean need no code.
    usual = np.log(2.0) * 2.0 * np.abs(rest - means).mean(axis=0) / step
    bits = np.rint(np.log2(np.maximum(usual, 1.0))).astype(np.int64)
    bits = np.maximum.accumulate(bits[::-1])[::-1]  # so that the axes that have a bit stand side by side
    lower: list[NDArray[np.uint8]] = []
    upper: list[NDArray[np.uint8]] = []
    lengths: list[NDArray[np.int64]] = []
    for start in range(0, len(rest), _ROWS_PER_BLOCK):
        signed = np.rint((rest[start : start + _ROWS_PER_BLOCK] - means) / step).astype(np.int32)
        folded = np.where(signed < 0, -2 * signed - 1, 2 * signed)  # 0, -1, 1, -2, ... are 0, 1, 2, 3, ...
        lower.append(_bit_planes(folded, bits))
        codes, many = _unary_codes(folded >> bits)
        upper.append(codes)
        lengths.append(many)
    np.save(into / "rest_scale.npy", np.concatenate([[step], means]).astype(np.float32))
    np.save(into / "rest_bits.npy", bits.astype(np.uint8))
    np.save(into / "rest_lower.npy", np.concatenate(lower))
    np.save(into / "rest_upper.npy", np.concatenate(upper))
    bit_packing.save(into, "rest_lengths", np.concatenate(lengths))


def _bit_planes(numbers: NDArray[np.int32], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(rows, bytes): the lowest bit of all columns that keep one, then the second, and so on."""
    planes = [numbers[:, bits > bit] >> bit & 1 for bit in range(int(bits.max()))]
    return np.packbits(np.concatenate([numbers[:, :0], *planes], axis=1).astype(np.uint8), axis=1, bitorder="little")


def _unary_codes(numbers: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """As many zeros before a one as each number says, row by row from a whole byte on; and the bytes (rows,) of each row."""
    many = (numbers.sum(axis=1, dtype=np.int64) + numbers.shape[1] + 7) // 8
    ones = np.zeros(8 * int(many.sum()), np.uint8)
    ones[8 * (np.cumsum(many) - many)[:, None] + np.cumsum(numbers + 1, axis=1) - 1] = 1
    return np.packbits(ones, bitorder="little"), many


class TransformCodedIndex:
    """Opens what ``write`` wrote."""

    def __init__(self, folder: Path) -> None:
        self._axes = np.load(folder / AXES_FILE).astype(np.float32)
        self._leading_index = DenseIndex(folder / INDEX_FILE)
        scale = np.load(folder / "rest_scale.npy")
        self._step = scale[0]
        self._means = scale[1:]
        self._bits = np.load(folder / "rest_bits.npy").astype(np.int32)
        self._lower, self._upper = (
            np.asarray(np.load(folder / f"rest_{name}.npy", mmap_mode="r")) for name in ("lower", "upper")
        )
        self._lengths = PackedIntegers(folder, "rest_lengths")[:].astype(np.int64)
        self._first = np.cumsum(self._lengths) - self._lengths

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return len(self._axes)

    def to_index_space(self, vector: Floats) -> Floats:
        """(width,) as ``nearest`` is asked and ``vectors`` are given."""
        return vector @ self._axes

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Row numbers and inner products along the leading axes, best first, at most ``limit``; ``vectors`` say what is exact."""
        return self._leading_index.nearest(vector[: self._leading_index.width], limit)

    def vectors(self, rows: Ints) -> Floats:
        """(n, width) of some rows, turned."""
        found = np.empty((len(rows), self.width), np.float32)
        leading = self._leading_index.width
        found[:, :leading], found[:, leading:] = self._leading_index.vectors(rows), self._residual(rows)
        return found

    def _residual(self, rows: Ints) -> Floats:
        lengths = self._lengths[rows]
        bits = np.unpackbits(self._upper[concatenated_ranges(self._first[rows], lengths)], bitorder="little")
        ones = np.flatnonzero(bits.view(bool)).astype(np.int32).reshape(len(rows), len(self._means))
        folded = np.empty_like(ones)
        folded[:, 0] = ones[:, 0] - 8 * (np.cumsum(lengths) - lengths)
        np.subtract(ones[:, 1:], ones[:, :-1], out=folded[:, 1:])
        folded[:, 1:] -= 1
        folded <<= self._bits
        folded |= self._lower_bits(rows)
        signed = folded >> 1
        signed ^= -(folded & 1)
        return signed * self._step + self._means

    def _lower_bits(self, rows: Ints) -> NDArray[np.uint8]:
        bits = np.unpackbits(self._lower[rows], axis=1, bitorder="little")
        found = np.zeros((len(rows), len(self._means)), np.uint8)
        start = 0
        for bit in range(int(self._bits.max(initial=0))):
            many = int((self._bits > bit).sum())
            found[:, :many] |= bits[:, start : start + many] << np.uint8(bit)
            start += many
        return found
