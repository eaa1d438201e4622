"""Rows of neighbours on the training side: cut to the strongest, and kept as ``retrieval.neighbours`` opens them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def shape_of(matrix: sparse.csr_array) -> tuple[int, int]:
    """Rows and columns, as the type checker cannot know them."""
    rows, columns = matrix.shape or (0, 0)
    return rows, columns


def top_k_per_row(matrix: sparse.csr_array, k: int | NDArray[np.integer]) -> sparse.csr_array:
    """The ``k`` largest of each row, or so many of each (rows,), at least one, largest first; ties by column."""
    data = np.asarray(matrix.data, np.float32)
    lengths = np.diff(matrix.indptr)
    most = np.broadcast_to(k, lengths.shape)
    kept = np.flatnonzero(np.repeat(lengths <= most, lengths))
    ends = np.asarray(matrix.indptr).tolist()
    over = np.flatnonzero(lengths > most).tolist()
    cut = [_top_k_positions(data, ends[r], ends[r + 1], int(most[r])) for r in over]
    kept = np.concatenate([kept, *cut])
    row = np.searchsorted(matrix.indptr, kept, side="right") - 1
    kept = kept[np.lexsort((matrix.indices[kept], -data[kept], row))]
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
    return sparse.csr_array((data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _top_k_positions(data: np.ndarray, start: int, end: int, k: int) -> np.ndarray:
    """Places of the ``k`` largest of one row; of equal ones at the edge the first columns."""
    values = data[start:end]
    edge = -np.partition(-values, k - 1)[k - 1]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: k - len(above)]
    return start + np.concatenate([above, level])


def save(matrix: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write ``starts`` (items + 1,), ``items`` int32 and ``values`` float32; returns the notes for the report."""
    np.save(into / "starts.npy", matrix.indptr.astype(np.int64))
    np.save(into / "items.npy", matrix.indices.astype(np.int32))
    np.save(into / "values.npy", matrix.data.astype(np.float32))
    return {"pairs": int(matrix.nnz)}
