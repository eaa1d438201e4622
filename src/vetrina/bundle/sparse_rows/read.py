"""Sums of some rows of a sparse matrix, memory-mapped."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.elias_fano import EliasFanoLists, IntegerArray, SelectedLists, concatenated_ranges
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints


class SparseRows:
    """The rows that ``write_rows`` or ``write_compressed_rows`` wrote; ``n_columns`` is the number of their columns."""

    def __init__(self, folder: Path) -> None:
        self._values = np.load(folder / "values.npy", mmap_mode="r")
        self.n_columns = int(np.load(folder / "n_columns.npy"))
        self._lists: _CsrLists | EliasFanoLists
        self._scales: Floats | None = None  # (rows,) of compressed rows
        if (folder / "starts.npy").exists():
            self._lists = _CsrLists(folder)
        else:
            self._lists = EliasFanoLists(folder, "items")
            self._scales = np.zeros(len(self._lists), np.float32)
            self._scales[self._lists.lengths > 0] = np.load(folder / "scales.npy")

    def weighted_sum(self, rows: Ints, weights: NDArray[np.floating]) -> Floats:
        """Return the sum (columns,) float32 over ``rows`` (n,) of weight * row."""
        selected = self._lists.take(rows)
        if not len(selected.values):
            return np.zeros(self.n_columns, np.float32)
        scaled = weights
        if self._scales is not None:
            scaled = weights * self._scales[rows]
        values = self._values[selected.indices] * np.repeat(scaled, selected.lengths)
        return np.bincount(selected.values, values, minlength=self.n_columns).astype(np.float32)


class _CsrLists:
    """Columns of each row as fitted, in the order of their values."""

    def __init__(self, folder: Path) -> None:
        # As a plain array: each slice of a numpy.memmap takes some microseconds to remember its file.
        self._starts = np.asarray(np.load(folder / "starts.npy", mmap_mode="r"))
        self._columns = np.load(folder / "items.npy", mmap_mode="r")

    def take(self, rows: IntegerArray) -> SelectedLists:
        starts = self._starts[rows].astype(np.int64)
        lengths = self._starts[rows + 1] - starts
        indices = concatenated_ranges(starts, lengths)
        return SelectedLists(self._columns[indices], indices, lengths)


class UserProfileScorer:
    """Scorer with an item-to-item matrix M."""

    def __init__(self, folder: Path) -> None:
        self._rows = SparseRows(folder)

    def score(self, history: History) -> Floats:
        """Return scores (items,) float32: the sum over the user's items of log(1 + count) * M[item, .]."""
        return self._rows.weighted_sum(history.counts_items, np.log1p(history.counts))
