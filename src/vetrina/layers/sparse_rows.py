"""Sparse neighbour rows: top-k selection, and the writer of what ``retrieval.neighbours`` reads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


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


def save(matrix: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write ``starts`` (items + 1,), ``items`` int32 and ``values`` float32; return the notes for the report."""
    np.save(into / "starts.npy", matrix.indptr.astype(np.int64))
    np.save(into / "items.npy", matrix.indices.astype(np.int32))
    np.save(into / "values.npy", matrix.data.astype(np.float32))
    return {"pairs": int(matrix.nnz)}
