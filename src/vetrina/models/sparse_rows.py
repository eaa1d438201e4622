"""Rows of neighbours on the training side: cut to the strongest, and kept as ``retrieval.neighbours`` opens them."""

from pathlib import Path

import numpy as np
from scipy import sparse


def strongest(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """The ``k`` largest of each row, largest first; ties by column."""
    data = np.asarray(matrix.data, np.float32)
    row = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -data, row))
    row = row[order]
    rank = np.arange(len(row)) - matrix.indptr[row]
    kept = order[rank < k]
    starts = np.concatenate([[0], np.cumsum(np.minimum(np.diff(matrix.indptr), k))])
    return sparse.csr_array((data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def save(rows: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write ``starts`` (items + 1,), ``items`` int32 and ``values`` float32; returns the notes for the report."""
    np.save(into / "starts.npy", rows.indptr.astype(np.int64))
    np.save(into / "items.npy", rows.indices.astype(np.int32))
    np.save(into / "values.npy", rows.data.astype(np.float32))
    return {"pairs": int(rows.nnz)}
