"""The largest singular vectors of a sparse matrix by random projection (Halko, Martinsson and Tropp 2011, algorithm 4.4)."""

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
    """Singular values (k,), largest first, and right vectors (columns, k), k at most ``rank`` and the smaller side.

    Signs are fixed: the largest component of each vector is positive.
    """
    k = min(rank, *shape_of(matrix))
    wide = min(k + _OVERSAMPLES, *shape_of(matrix))
    rows = [
        matrix[np.arange(at, min(at + _ROWS_PER_BLOCK, shape_of(matrix)[0]))]
        for at in range(0, shape_of(matrix)[0], _ROWS_PER_BLOCK)
    ]
    found = np.random.default_rng(seed).standard_normal((shape_of(matrix)[1], wide)).astype(np.float32)
    for _ in range(_POWER_ITERATIONS):
        # By pieces of rows: the product with all of them would be as long as the log has users.
        found, _ = np.linalg.qr(sum(part.T @ (part @ found) for part in rows))
    gram = sum((small.T @ small).astype(np.float64) for small in (part @ found for part in rows))
    squares, rotation = np.linalg.eigh(gram)
    order = np.argsort(-squares, kind="stable")[:k]
    values = np.sqrt(np.maximum(squares[order], 0.0))
    vectors = found @ rotation[:, order].astype(np.float32)
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
    return values.astype(np.float32), (vectors * np.where(signs == 0, 1, signs)).astype(np.float32)
