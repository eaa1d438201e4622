"""Block-wise int4 quantisation of vectors: two numbers a byte, one scale for each block of columns."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats

ZERO_POINT = 8  # of 0 to 15, the integer that stands for 0
BLOCK_SIZES = (64, 32, 16)  # columns of a block; the largest that divides the width
_CLIP_RATIOS = (1.0, 0.9, 0.8, 0.7)
Bytes = NDArray[np.uint8]


def block_size_of(width: int) -> int:
    """Return the columns of a block, 0 if no block size divides the width."""
    return next((block for block in BLOCK_SIZES if width % block == 0), 0)


def quantise(rows: Floats) -> tuple[Bytes, Floats]:
    """Return packed bytes (rows, blocks, block / 2), the lower half of each byte first, and scales (rows, blocks).

    Of a few clipping ratios each block gets the one with the smallest squared error.
    """
    block = block_size_of(rows.shape[1])
    blocks = rows.reshape(len(rows), rows.shape[1] // block, block)
    largest = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), 1e-8)
    best = np.zeros(blocks.shape, np.uint8)
    least_error = np.full(largest.shape, np.inf, np.float32)
    scale = largest
    for clip in _CLIP_RATIOS:
        step = (largest * (clip / (ZERO_POINT - 1))).astype(np.float32)
        rounded = np.clip(np.rint(blocks / step), -ZERO_POINT, ZERO_POINT - 1)
        error = ((rounded * step - blocks) ** 2).sum(axis=2, keepdims=True)
        better = error < least_error
        best = np.where(better, rounded + ZERO_POINT, best).astype(np.uint8)
        least_error = np.where(better, error, least_error)
        scale = np.where(better, step, scale)
    return (best[..., 0::2] | (best[..., 1::2] << 4)).astype(np.uint8), scale[:, :, 0].astype(np.float32)


def dequantise(packed: Bytes, scales: Floats) -> Floats:
    """Return the vectors (rows, width) of packed bytes and scales from ``quantise``."""
    rows, blocks, half = packed.shape
    integers = np.stack([packed & 15, packed >> 4], axis=3).reshape(rows, blocks, 2 * half).astype(np.float32)
    return ((integers - ZERO_POINT) * scales[:, :, None]).reshape(rows, blocks * 2 * half)
