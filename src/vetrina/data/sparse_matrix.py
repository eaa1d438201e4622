"""Largest values of the rows of sparse and dense matrices."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_COLUMNS_PER_GROUP = 16
_MAX_PADDED_VALUES = 2_000_000  # of rows whose largest values are searched at once


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
    is_long = row_lengths > max_lengths
    selected = [np.flatnonzero(np.repeat(~is_long, row_lengths))]  # rows that stay whole
    for length in np.unique(max_lengths[is_long]).tolist():
        rows = np.flatnonzero(is_long & (max_lengths == length))
        for group in _groups_of_similar_length(rows, row_lengths):
            selected.append(_top_k_positions(values, matrix.indptr[group], row_lengths[group], length))
    positions = np.concatenate(selected)
    row_of_position = np.searchsorted(matrix.indptr, positions, side="right") - 1
    order = np.lexsort((matrix.indices[positions], -values[positions], row_of_position))
    positions = positions[order]
    starts = np.concatenate([[0], np.cumsum(np.minimum(row_lengths, max_lengths))])
    return sparse.csr_array((values[positions], matrix.indices[positions], starts), shape=matrix.shape)


def _groups_of_similar_length(rows: np.ndarray, row_lengths: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in groups whose values fit into one padded matrix of at most _MAX_PADDED_VALUES; long rows come first."""
    longest_first = rows[np.argsort(-row_lengths[rows], kind="stable")]
    start = 0
    while start < len(longest_first):
        longest = int(row_lengths[longest_first[start]])
        end = start + max(1, _MAX_PADDED_VALUES // longest)
        yield longest_first[start:end]
        start = end


def _top_k_positions(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` largest values of each row; of those tied for the last place the first columns.

    Args:
        values: Values of all rows.
        starts: (rows,) position of each row's first value.
        lengths: (rows,) number of each row's values, more than ``k``.
        k: Number of values.
    """
    offsets = np.arange(lengths.max())
    is_inside = offsets < lengths[:, None]
    positions = starts[:, None] + np.where(is_inside, offsets, 0)
    padded = np.where(is_inside, values[positions], -np.inf)
    kth_largest = np.partition(padded, -k, axis=1)[:, -k, None]
    is_larger = padded > kth_largest
    is_tied = padded == kth_largest
    n_tied = k - is_larger.sum(axis=1, keepdims=True)
    is_selected = is_larger | (is_tied & (is_tied.cumsum(axis=1) <= n_tied))
    return positions[is_selected]


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
