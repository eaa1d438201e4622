"""Truncated SVD of sparse matrices by random projection (Halko, Martinsson and Tropp 2011, algorithm 4.4)."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.layers.sparse_rows import shape_of

_OVERSAMPLES = 16
_POWER_ITERATIONS = 3
_ROWS_PER_BLOCK = 20_000


def right_singular_vectors(
    matrix: sparse.csr_array, rank: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return singular values (k,), largest first, and right singular vectors (columns, k).

    k is at most ``rank`` and the smaller side. Signs are fixed: the largest component of each vector is positive.

    Args:
        matrix: (rows, columns) sparse matrix.
        rank: Number of vectors.
        seed: Seed of the random projection.
    """
    n_rows, n_columns = shape_of(matrix)
    k = min(rank, n_rows, n_columns)
    n_projections = min(k + _OVERSAMPLES, n_rows, n_columns)
    blocks = []
    for start in range(0, n_rows, _ROWS_PER_BLOCK):
        end = min(start + _ROWS_PER_BLOCK, n_rows)
        blocks.append(matrix[np.arange(start, end)])
    basis = np.random.default_rng(seed).standard_normal((n_columns, n_projections)).astype(np.float32)
    for _ in range(_POWER_ITERATIONS):
        # By blocks of rows: the product with all of them would be as long as the log has users.
        product = sum(block.T @ (block @ basis) for block in blocks)
        basis, _ = np.linalg.qr(product)
    gram = sum(_gram(block @ basis) for block in blocks)
    squares, rotation = np.linalg.eigh(gram)
    largest = np.argsort(-squares, kind="stable")[:k]
    values = np.sqrt(np.maximum(squares[largest], 0.0))
    vectors = basis @ rotation[:, largest].astype(np.float32)
    largest_component = np.abs(vectors).argmax(0)
    signs = np.sign(vectors[largest_component, np.arange(k)])
    signs = np.where(signs == 0, 1, signs)
    return values.astype(np.float32), (vectors * signs).astype(np.float32)


def _gram(projected: NDArray[np.float32]) -> NDArray[np.float64]:
    return (projected.T @ projected).astype(np.float64)
