"""Sparse neighbour rows: top-k selection, and the writer of what ``retrieval.neighbours`` reads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_COLUMNS_PER_GROUP = 16


def shape_of(matrix: sparse.csr_array) -> tuple[int, int]:
    """Return the numbers of rows and columns, with a type that the type checker knows."""
    rows, columns = matrix.shape or (0, 0)
    return rows, columns


def top_k_per_row(matrix: sparse.csr_array, k: int | NDArray[np.integer]) -> sparse.csr_array:
    """Return the ``k`` largest values of each row, largest first, ties by column.

    Args:
        matrix: (rows, columns) sparse matrix with sorted columns.
        k: At least 1, for all rows or of each row (rows,).
    """
    values = np.asarray(matrix.data, np.float32)
    row_lengths = np.diff(matrix.indptr)
    max_lengths = np.broadcast_to(k, row_lengths.shape)
    row_starts = np.asarray(matrix.indptr).tolist()
    selected = [np.flatnonzero(np.repeat(row_lengths <= max_lengths, row_lengths))]  # rows that stay whole
    for row in np.flatnonzero(row_lengths > max_lengths).tolist():
        selected.append(_top_k_positions(values, row_starts[row], row_starts[row + 1], int(max_lengths[row])))
    positions = np.concatenate(selected)
    row_of_position = np.searchsorted(matrix.indptr, positions, side="right") - 1
    order = np.lexsort((matrix.indices[positions], -values[positions], row_of_position))
    positions = positions[order]
    starts = np.concatenate([[0], np.cumsum(np.minimum(row_lengths, max_lengths))])
    return sparse.csr_array((values[positions], matrix.indices[positions], starts), shape=matrix.shape)


def _top_k_positions(values: np.ndarray, start: int, end: int, k: int) -> np.ndarray:
    """Positions of the ``k`` largest values of one row; of those tied for the last place the first columns.

    Args:
        values: Values of all rows.
        start: Position of the row's first value.
        end: Position after its last value.
        k: Number of values.
    """
    row_values = values[start:end]
    kth_largest = -np.partition(-row_values, k - 1)[k - 1]
    larger = np.flatnonzero(row_values > kth_largest)
    tied = np.flatnonzero(row_values == kth_largest)
    selected = np.concatenate([larger, tied[: k - len(larger)]])
    return start + selected


def top_k_of_dense(values: NDArray[np.float32], k: int) -> sparse.csr_array:
    """Return the ``k`` largest of the positive values of each row.

    A value among the k largest lies in one of the k groups of columns with the largest maxima, so only these are searched.

    Args:
        values: (rows, columns).
        k: At least 1.
    """
    n_rows, n_columns = values.shape
    n_groups = -(-n_columns // _COLUMNS_PER_GROUP)
    if n_groups <= k:
        columns = np.broadcast_to(np.arange(n_columns), values.shape)
    else:
        columns = _columns_of_top_groups(values, k, n_groups)
    is_outside = columns >= n_columns
    columns = np.where(is_outside, 0, columns)
    candidates = np.where(is_outside, 0.0, np.take_along_axis(values, columns, axis=1))
    if candidates.shape[1] > k:
        best = np.argpartition(candidates, candidates.shape[1] - k, axis=1)[:, -k:]
        columns = np.take_along_axis(columns, best, axis=1)
        candidates = np.take_along_axis(candidates, best, axis=1)
    starts = np.arange(0, candidates.size + 1, max(1, candidates.shape[1]))
    top = sparse.csr_array((np.maximum(candidates, 0.0).ravel(), columns.ravel(), starts), shape=(n_rows, n_columns))
    top.eliminate_zeros()
    top.sort_indices()
    return top


def _columns_of_top_groups(values: NDArray[np.float32], k: int, n_groups: int) -> NDArray[np.intp]:
    """Columns (rows, k * _COLUMNS_PER_GROUP) of the ``k`` groups with the largest maxima of each row.

    Column c is in group c % ``n_groups``; a group that is not full gets numbers beyond the last column.
    """
    n_rows, n_columns = values.shape
    maxima = values[:, :n_groups].copy()
    for start in range(n_groups, n_columns, n_groups):
        end = min(start + n_groups, n_columns)
        np.maximum(maxima[:, : end - start], values[:, start:end], out=maxima[:, : end - start])
    groups = np.argpartition(maxima, n_groups - k, axis=1)[:, -k:]
    members = groups[:, :, None] + n_groups * np.arange(_COLUMNS_PER_GROUP)
    return members.reshape(n_rows, -1)


def save(matrix: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write ``starts`` (items + 1,), ``items`` int32 and ``values`` float32; return the notes for the report."""
    np.save(into / "starts.npy", matrix.indptr.astype(np.int64))
    np.save(into / "items.npy", matrix.indices.astype(np.int32))
    np.save(into / "values.npy", matrix.data.astype(np.float32))
    return {"pairs": int(matrix.nnz)}
