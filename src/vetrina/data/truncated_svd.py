"""Truncated SVD of sparse matrices: by random projection, exactly where one side is short.

Random projection: Halko, Martinsson and Tropp 2011, algorithm 4.4. Where one side is short, the eigenvectors of the product of
the matrix with itself on that side give the singular vectors, and take less time than a projection of a high rank.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import eigh

from vetrina.data.sparse_matrix import shape_of

_SHORT_SIDE = 4_000  # rows or columns, up to which the decomposition is exact
_SMALLEST_VALUE = 1e-6  # by which is divided at least
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
    if min(n_rows, n_columns) <= _SHORT_SIDE:
        values, vectors = _exact_vectors(matrix, k)
    else:
        values, vectors = _projected_vectors(matrix, k, seed)
    largest_component = np.abs(vectors).argmax(0)
    signs = np.sign(vectors[largest_component, np.arange(k)])
    signs = np.where(signs == 0, 1, signs)
    return values.astype(np.float32), (vectors * signs).astype(np.float32)


def _exact_vectors(matrix: sparse.csr_array, k: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Singular values (k,) and right singular vectors (columns, k), by the eigenvectors of the shorter side's products."""
    n_rows, n_columns = shape_of(matrix)
    is_wide = n_rows < n_columns
    gram = matrix @ matrix.T if is_wide else matrix.T @ matrix
    n = min(n_rows, n_columns)
    squares, directions = eigh(gram.toarray().astype(np.float64), subset_by_index=(n - k, n - 1), overwrite_a=True)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    directions = directions[:, ::-1].astype(np.float32)
    if not is_wide:
        return values, directions
    scale = np.maximum(values, _SMALLEST_VALUE).astype(np.float32)
    return values, (matrix.T @ directions) / scale


def _projected_vectors(
    matrix: sparse.csr_array, k: int, seed: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Singular values (k,) and right singular vectors (columns, k), by random projection."""
    n_rows, n_columns = shape_of(matrix)
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
    return values, basis @ rotation[:, largest].astype(np.float32)


def _gram(projected: NDArray[np.float32]) -> NDArray[np.float64]:
    return (projected.T @ projected).astype(np.float64)
