"""Writers of sparse rows, as fitted and compressed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.bundle.elias_fano import save_elias_fano
from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats

MIN_KEPT_VALUES = 10  # of a pruned row, if it has them
_MAX_UINT8 = 255


def write_rows(matrix: sparse.csr_array, into: Path) -> dict[str, int]:
    """Write the rows of a matrix as fitted; return the notes for the report."""
    _, n_columns = matrix.shape or (0, 0)
    np.save(into / "n_columns.npy", np.array(n_columns))
    np.save(into / "starts.npy", matrix.indptr.astype(np.int64))
    np.save(into / "items.npy", matrix.indices.astype(np.int32))
    np.save(into / "values.npy", matrix.data.astype(np.float32))
    return {"pairs": int(matrix.nnz)}


def write_compressed_rows(source: Path, into: Path, keep_share: float = 1.0) -> None:
    """Write compressed rows; the smallest value is 1, so that none is lost.

    Args:
        source: Folder that ``write_rows`` wrote to.
        into: Folder to write to.
        keep_share: Share of each row that stays, by value; fewer values also sum faster.

    Raises:
        UnusableVariant: The values are not finite.
    """
    rows = _read_rows(source)
    if not np.isfinite(rows.values).all():
        raise UnusableVariant("its neighbours' values are not finite")
    if keep_share < 1.0:
        rows = _prune(rows, keep_share)
    lengths = np.bincount(rows.row, minlength=rows.n_rows)
    largest = np.zeros(rows.n_rows, np.float32)
    np.maximum.at(largest, rows.row, rows.values)
    scales = np.where(largest > 0, largest / _MAX_UINT8, 1.0).astype(np.float32)
    values = np.rint(rows.values / scales[rows.row]).clip(1, _MAX_UINT8).astype(np.uint8)
    by_column = np.lexsort((rows.column, rows.row))
    np.save(into / "n_columns.npy", np.array(rows.n_columns))
    save_elias_fano(into, "items", lengths, rows.column[by_column])
    np.save(into / "values.npy", values[by_column])
    np.save(into / "scales.npy", scales[lengths > 0])


@dataclass(frozen=True)
class _FittedRows:
    """``row`` (ascending), ``column`` and value (n,) of each entry of a matrix."""

    n_rows: int
    n_columns: int
    row: NDArray[np.integer]
    column: NDArray[np.int32]
    values: Floats


def _read_rows(source: Path) -> _FittedRows:
    lengths = np.diff(np.load(source / "starts.npy"))
    return _FittedRows(
        n_rows=len(lengths),
        n_columns=int(np.load(source / "n_columns.npy")),
        row=np.repeat(np.arange(len(lengths)), lengths),
        column=np.load(source / "items.npy"),
        values=np.load(source / "values.npy"),
    )


def _prune(rows: _FittedRows, keep_share: float) -> _FittedRows:
    """The ``keep_share`` largest values of each row, at least MIN_KEPT_VALUES of them."""
    lengths = np.bincount(rows.row, minlength=rows.n_rows)
    starts = np.cumsum(lengths) - lengths
    order = np.lexsort((-rows.values, rows.row))
    rank = np.arange(len(rows.row)) - starts[rows.row]  # as rows are sorted already, each starts where it did
    max_rank = np.maximum(np.ceil(keep_share * lengths), MIN_KEPT_VALUES)[rows.row]
    kept = np.sort(order[rank < max_rank])
    return _FittedRows(rows.n_rows, rows.n_columns, rows.row[kept], rows.column[kept], rows.values[kept])
