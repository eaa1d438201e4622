"""Rows of neighbours on the training side: cut to the strongest, and kept as ``retrieval.neighbours`` opens them."""

from pathlib import Path

import numpy as np
from scipy import sparse


def shape_of(matrix: sparse.csr_array) -> tuple[int, int]:
    """Rows and columns, as the type checker cannot know them."""
    rows, columns = matrix.shape or (0, 0)
    return rows, columns


def strongest(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """The ``k`` largest of each row, largest first; ties by column."""
    data = np.asarray(matrix.data, np.float32)
    lengths = np.diff(matrix.indptr)
    kept = np.flatnonzero(np.repeat(lengths <= k, lengths))
    cut = [_largest(data, int(matrix.indptr[r]), int(matrix.indptr[r + 1]), k) for r in np.flatnonzero(lengths > k)]
    kept = np.concatenate([kept, *cut])
    row = np.searchsorted(matrix.indptr, kept, side="right") - 1
    kept = kept[np.lexsort((matrix.indices[kept], -data[kept], row))]
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, k))])
    return sparse.csr_array((data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _largest(data: np.ndarray, start: int, end: int, k: int) -> np.ndarray:
    """Places of the ``k`` largest of one row; of equal ones at the edge the first columns."""
    values = data[start:end]
    edge = -np.partition(-values, k - 1)[k - 1]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: k - len(above)]
    return start + np.concatenate([above, level])


def save(rows: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write ``starts`` (items + 1,), ``items`` int32 and ``values`` float32; returns the notes for the report."""
    np.save(into / "starts.npy", rows.indptr.astype(np.int64))
    np.save(into / "items.npy", rows.indices.astype(np.int32))
    np.save(into / "values.npy", rows.data.astype(np.float32))
    return {"pairs": int(rows.nnz)}
