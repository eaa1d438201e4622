"""Percentile bootstrap (Efron 1979) over units: users, queries or rows."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

_MAX_VALUES_PER_CHUNK = 5_000_000


def resampled_means(values: NDArray[np.float64], repeats: int = 2_000, seed: int = 42) -> NDArray[np.float64]:
    """Means (repeats,) of ``values`` (units,) drawn with replacement."""
    rng = np.random.default_rng(seed)
    step = max(1, _MAX_VALUES_PER_CHUNK // max(1, len(values)))
    sizes = [min(step, repeats - done) for done in range(0, repeats, step)]
    return np.concatenate([values[rng.integers(0, len(values), (n, len(values)))].mean(axis=1) for n in sizes])


def mean_interval(values: NDArray[np.float64], level: float = 0.95, repeats: int = 2_000, seed: int = 42) -> Interval:
    """Mean with its two-sided interval."""
    means = resampled_means(values, repeats, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    candidate: NDArray[np.float64], reference: NDArray[np.float64], level: float = 0.95, seed: int = 42
) -> Interval:
    """Candidate minus reference over the same units, with its interval."""
    return mean_interval(candidate - reference, level, seed=seed)
