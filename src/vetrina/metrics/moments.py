"""From rows to the sufficient statistics of their units. Knows nothing of what a row is."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import Moments


def moments(unit_ids: NDArray[np.integer], rows: NDArray[np.floating], *, sum_rows: bool = False) -> Moments:
    """``unit`` (n,) numbers from 0, ``rows`` (n, k). A unit counts with the mean of its rows, or with their sum if ``total``."""
    k = rows.shape[1]
    if not len(unit_ids):
        return Moments(0, (0.0,) * k, (0.0,) * (k * (k + 1) // 2))
    counts = np.bincount(unit_ids)
    there = counts > 0
    sums = np.stack([np.bincount(unit_ids, rows[:, c], len(counts)) for c in range(k)], 1)[there]
    x = sums if sum_rows else sums / counts[there, None]
    return Moments(len(x), tuple(x.sum(0).tolist()), tuple((x.T @ x)[np.triu_indices(k)].tolist()))
