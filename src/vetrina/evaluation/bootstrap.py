"""Percentile bootstrap intervals (Efron 1979) of means over evaluation units: users, queries or rows."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

_MAX_VALUES_PER_CHUNK = 5_000_000  # resampled values held in memory at once


def resampled_means(values: NDArray[np.float64], repeats: int = 2_000, seed: int = 42) -> NDArray[np.float64]:
    """Return means (repeats,) of resamples of ``values``.

    Args:
        values: (units,) one value of each unit; each resample draws as many with replacement.
        repeats: Number of resamples.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    n_values = len(values)
    chunk = max(1, _MAX_VALUES_PER_CHUNK // max(1, n_values))
    means: list[NDArray[np.float64]] = []
    for done in range(0, repeats, chunk):
        n_resamples = min(chunk, repeats - done)
        rows = rng.integers(0, n_values, (n_resamples, n_values))
        means.append(values[rows].mean(axis=1))
    return np.concatenate(means)


def mean_interval(values: NDArray[np.float64], level: float = 0.95, repeats: int = 2_000, seed: int = 42) -> Interval:
    """Return the mean of ``values`` with its two-sided percentile interval.

    Args:
        values: (units,) one value of each unit.
        level: Coverage of the interval, between 0 and 1.
        repeats: Number of resamples.
        seed: Seed of the random numbers.
    """
    means = resampled_means(values, repeats, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    candidate: NDArray[np.float64],
    reference: NDArray[np.float64],
    level: float = 0.95,
    seed: int = 42,
) -> Interval:
    """Return the mean of candidate minus reference over the same units, with its interval.

    Args:
        candidate: (units,) values of the candidate.
        reference: (units,) values of the reference, in the same order.
        level: Coverage of the interval, between 0 and 1.
        seed: Seed of the random numbers.
    """
    return mean_interval(candidate - reference, level, seed=seed)
