"""Vector compression by transform coding (Goyal 2001): principal axes, quantisation, Golomb-Rice codes.

Vectors are rotated to their principal axes and rounded with one step. Most axes have little variance, so most numbers are small
("Theoretical foundations of transform coding"). What exceeds an axis's ``lower`` bits is coded in unary, as many zeros before a
one (Rice & Plaunt 1971, "Adaptive variable-length coding for efficient compression of spacecraft television data"). The first
N_INDEXED_AXES axes are in a ``dense`` index, which finds the nearest vectors; a rotation keeps inner products, so nothing is
rotated back.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.bundle.dense import DenseIndex, build
from vetrina.bundle.elias_fano import concatenated_ranges
from vetrina.core.types import Floats, Ints

N_INDEXED_AXES = 64
MIN_VECTORS_PER_AXIS = 8  # with fewer the axes take nearly as many bytes as are saved
_RANGE_RMS = 6.4  # root mean squares of a number that ``bits`` bits would have to span
_ROWS_PER_BLOCK = 10_000
INDEX_FILE = "index.faiss"
AXES_FILE = "axes.npy"


def is_compressible(n_vectors: int, width: int) -> bool:
    """Return whether there are enough vectors to save more bytes than the axes take, and more axes than the index has."""
    return n_vectors >= MIN_VECTORS_PER_AXIS * width and width > N_INDEXED_AXES


def write(vectors: Floats, into: Path, bits: float) -> None:
    """Write transform-coded vectors. Equal input gives an equal file.

    Args:
        vectors: (n, width) vectors for which ``is_compressible``.
        into: Folder to write to.
        bits: Bits a number of a uniform quantiser with the same step.
    """
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    principal_axes = axes[:, ::-1].astype(np.float16)
    rotated = vectors @ principal_axes.astype(np.float32)
    np.save(into / AXES_FILE, principal_axes)
    build(np.ascontiguousarray(rotated[:, :N_INDEXED_AXES]), into / INDEX_FILE)
    _write_residual(rotated[:, N_INDEXED_AXES:], into, float(np.sqrt((vectors**2).mean())) * _RANGE_RMS / 2.0**bits)


def _write_residual(rest: Floats, into: Path, step: float) -> None:
    means = rest.mean(axis=0)
    # Of geometrically distributed numbers about as many low bits as the logarithm of their mean are stored uncoded.
    mean_magnitude = np.log(2.0) * 2.0 * np.abs(rest - means).mean(axis=0) / step
    bits = np.rint(np.log2(np.maximum(mean_magnitude, 1.0))).astype(np.int64)
    bits = np.maximum.accumulate(bits[::-1])[::-1]  # so that the axes with a bit are adjacent
    lower: list[NDArray[np.uint8]] = []
    upper: list[NDArray[np.uint8]] = []
    lengths: list[NDArray[np.int64]] = []
    for start in range(0, len(rest), _ROWS_PER_BLOCK):
        signed = np.rint((rest[start : start + _ROWS_PER_BLOCK] - means) / step).astype(np.int32)
        folded = np.where(signed < 0, -2 * signed - 1, 2 * signed)  # 0, -1, 1, -2, ... are 0, 1, 2, 3, ...
        lower.append(_bit_planes(folded, bits))
        codes, byte_counts = _unary_codes(folded >> bits)
        upper.append(codes)
        lengths.append(byte_counts)
    np.save(into / "rest_scale.npy", np.concatenate([[step], means]).astype(np.float32))
    np.save(into / "rest_bits.npy", bits.astype(np.uint8))
    np.save(into / "rest_lower.npy", np.concatenate(lower))
    np.save(into / "rest_upper.npy", np.concatenate(upper))
    bit_packing.save(into, "rest_lengths", np.concatenate(lengths))


def _bit_planes(numbers: NDArray[np.int32], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(rows, bytes): the lowest bit of all columns that store it, then the second, and so on."""
    planes = [numbers[:, bits > bit] >> bit & 1 for bit in range(int(bits.max()))]
    return np.packbits(np.concatenate([numbers[:, :0], *planes], axis=1).astype(np.uint8), axis=1, bitorder="little")


def _unary_codes(numbers: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Unary codes, a number as so many zeros before a one, each row from a whole byte on; and the bytes (rows,) of each."""
    byte_counts = (numbers.sum(axis=1, dtype=np.int64) + numbers.shape[1] + 7) // 8
    ones = np.zeros(8 * int(byte_counts.sum()), np.uint8)
    ones[8 * (np.cumsum(byte_counts) - byte_counts)[:, None] + np.cumsum(numbers + 1, axis=1) - 1] = 1
    return np.packbits(ones, bitorder="little"), byte_counts


class TransformCodedIndex:
    """The vectors that ``write`` wrote."""

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
        """Dimension of the vectors."""
        return len(self._axes)

    def to_index_space(self, vector: Floats) -> Floats:
        """Return a query vector (width,) in the space of ``nearest`` and ``vectors``: rotated."""
        return vector @ self._axes

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Return row numbers and inner products along the indexed axes, best first, at most ``limit``.

        Exact inner products are those with ``vectors``.
        """
        return self._leading_index.nearest(vector[: self._leading_index.width], limit)

    def vectors(self, rows: Ints) -> Floats:
        """Return the rotated vectors (n, width) of some rows."""
        vectors = np.empty((len(rows), self.width), np.float32)
        leading = self._leading_index.width
        vectors[:, :leading] = self._leading_index.vectors(rows)
        vectors[:, leading:] = self._residual(rows)
        return vectors

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
        lower_bits = np.zeros((len(rows), len(self._means)), np.uint8)
        start = 0
        for bit in range(int(self._bits.max(initial=0))):
            n_axes = int((self._bits > bit).sum())
            lower_bits[:, :n_axes] |= bits[:, start : start + n_axes] << np.uint8(bit)
            start += n_axes
        return lower_bits
