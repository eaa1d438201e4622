"""Drift test of a day against comparable days: Hotelling's distance (1931) with an empirical inflation factor.

The squared distance of two means has a known null distribution if the days differ only in which units they sampled. Days
also differ in other ways: weather, promotions. So the distances among the earlier days give the factor by which the null
distribution is wider (genomic control; Devlin and Roeder 1999); it is never below one.
"""

# pyright: reportUnknownMemberType=false
# SciPy's distributions have no types.

from collections.abc import Sequence
from functools import lru_cache, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, f

from vetrina.core.health_types import Moments

MIN_UNITS = 100
MIN_DAYS = 7
DAYS_PER_WEEK = 7
_MIN_SAME_WEEKDAYS = 2
_QUANTILE_LEVELS = (0.5, 0.9)  # of the distances among earlier days
_MIN_RELATIVE_EIGENVALUE = 1e-9  # of the largest: directions with less variance are left out
DayMoments = tuple[int, Moments]  # a day's number and its moments


def comparable_days(day_number: int, days: Sequence[DayMoments]) -> list[Moments]:
    """Return the moments of the other days with the same weekday if there are two, else of all other days."""
    other_days = [(number, day) for number, day in days if number != day_number]
    same_weekday = [day for number, day in other_days if (number - day_number) % DAYS_PER_WEEK == 0]
    if len(same_weekday) >= _MIN_SAME_WEEKDAYS:
        return same_weekday
    return [day for _, day in other_days]


def squared_distance(a: Moments, b: Moments) -> tuple[float, int]:
    """Return the squared Mahalanobis distance of two means by their sampling error, and its degrees of freedom."""
    sampling_covariance = a.covariance() / a.units + b.covariance() / b.units
    eigenvalues, eigenvectors = np.linalg.eigh(sampling_covariance)
    largest = max(float(eigenvalues.max(initial=0.0)), 1e-300)
    has_variance = eigenvalues > _MIN_RELATIVE_EIGENVALUE * largest
    difference = (a.mean() - b.mean()) @ eigenvectors[:, has_variance]
    distance = float((difference**2 / eigenvalues[has_variance]).sum())
    return distance, int(has_variance.sum())


def largest_shift(a: Moments, b: Moments) -> float:
    """Return the largest difference of a component's means, in standard deviations of a unit of ``b``."""
    sd = np.sqrt(np.maximum(b.covariance().diagonal(), 1e-12))
    shifts = np.abs((a.mean() - b.mean()) / sd)
    return float(shifts.max(initial=0.0))


def inflation_factor(days: Sequence[DayMoments]) -> float:
    """Return the factor by which ordinary days differ more than the sampling of their units explains; at least 1.

    It is the larger of two: by the median and by the 90 % quantile of the days' distances. A fluctuation that moves few
    components at once shows in the upper quantile first.
    """
    if len(days) < MIN_DAYS:
        return 1.0
    distances: list[float] = []
    degrees_of_freedom = 0
    for number, day in days:
        reference = reduce(add, comparable_days(number, days))
        distance, degrees = squared_distance(day, reference)
        distances.append(distance)
        degrees_of_freedom = max(degrees_of_freedom, degrees)
    if not degrees_of_freedom:
        return 1.0
    observed_quantiles = np.quantile(distances, _QUANTILE_LEVELS)
    factors = observed_quantiles / _chi2_quantiles(degrees_of_freedom)
    return float(max(1.0, *factors))


def p_value(day: DayMoments, days: Sequence[DayMoments]) -> float:
    """Return the chance that a day without drift is at least as far from comparable days."""
    number, own = day
    reference = reduce(add, comparable_days(number, days))
    distance, degrees_of_freedom = squared_distance(own, reference)
    if not degrees_of_freedom:
        return 1.0
    residual_degrees = max(own.units - degrees_of_freedom, 1)
    f_statistic = distance / inflation_factor(days) / degrees_of_freedom
    return float(f.sf(f_statistic, degrees_of_freedom, residual_degrees))


def benjamini_hochberg(p_values: NDArray[np.float64], false_discovery_rate: float) -> NDArray[np.bool_]:
    """Return which of the p-values (n,) are discoveries (Benjamini and Hochberg 1995).

    Args:
        p_values: (n,) one p-value of each test.
        false_discovery_rate: Share of the discoveries that may be false.
    """
    n_tests = len(p_values)
    order = np.argsort(p_values)
    thresholds = false_discovery_rate * np.arange(1, n_tests + 1) / max(n_tests, 1)
    below = np.flatnonzero(p_values[order] <= thresholds)
    is_discovery = np.zeros(n_tests, bool)
    if len(below):
        n_discoveries = int(below[-1]) + 1
        is_discovery[order[:n_discoveries]] = True
    return is_discovery


@lru_cache
def _chi2_quantiles(degrees_of_freedom: int) -> NDArray[np.float64]:
    return chi2.ppf(_QUANTILE_LEVELS, degrees_of_freedom)
