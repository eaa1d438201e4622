"""Sufficient statistics (sums and products) of rows by evaluation unit. Knows nothing of what a row is."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import Moments


def moments(unit_ids: NDArray[np.integer], rows: NDArray[np.floating], *, sum_rows: bool = False) -> Moments:
    """Return the number of units, and the sums and products of their values.

    Args:
        unit_ids: (n,) number of each row's unit, from 0.
        rows: (n, k) values of each row.
        sum_rows: Whether a unit's value is the sum of its rows instead of their mean.
    """
    n_columns = rows.shape[1]
    n_products = n_columns * (n_columns + 1) // 2
    if not len(unit_ids):
        return Moments(0, (0.0,) * n_columns, (0.0,) * n_products)
    row_counts = np.bincount(unit_ids)
    has_rows = row_counts > 0
    column_sums = [np.bincount(unit_ids, rows[:, column], len(row_counts)) for column in range(n_columns)]
    values = np.stack(column_sums, 1)[has_rows]
    if not sum_rows:
        values = values / row_counts[has_rows, None]
    products = (values.T @ values)[np.triu_indices(n_columns)]
    return Moments(len(values), tuple(values.sum(0).tolist()), tuple(products.tolist()))
