"""Whether a day differs from days like it: a chi-squared distance, calibrated by what quiet days show of themselves.

The distance of two means (Hotelling 1931) has a known null distribution if nothing but the draw of units differs. Days also
differ in other ways: weather, promotions. So the distances among the earlier days themselves give the factor by which the null
is wider (the genomic control of Devlin and Roeder 1999); it is never below one.
"""

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
_QUANTILE_LEVELS = (0.5, 0.9)
DayMoments = tuple[int, Moments]  # a day's number and its moments


def comparable_days(day_number: int, days: Sequence[DayMoments]) -> list[Moments]:
    """Earlier moments to compare day ``number`` with: of the same weekday if two of them are there, else of all days."""
    others = [(n, m) for n, m in days if n != day_number]
    same = [m for n, m in others if (n - day_number) % DAYS_PER_WEEK == 0]
    return same if len(same) >= 2 else [m for _, m in others]


def squared_distance(a: Moments, b: Moments) -> tuple[float, int]:
    """Squared distance of the means in units of its own sampling error, and its degrees of freedom."""
    spread = a.covariance() / a.units + b.covariance() / b.units
    values, vectors = np.linalg.eigh(spread)
    kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
    along = (a.mean() - b.mean()) @ vectors[:, kept]
    return float((along**2 / values[kept]).sum()), int(kept.sum())


def largest_shift(a: Moments, b: Moments) -> float:
    """The largest shift of a component, in standard deviations of a unit."""
    sd = np.sqrt(np.maximum(b.covariance().diagonal(), 1e-12))
    return float(np.abs((a.mean() - b.mean()) / sd).max(initial=0.0))


def inflation_factor(days: Sequence[DayMoments]) -> float:
    """The factor by which quiet days differ more than the draw of their units explains; at least 1.

    The larger of what the middle and the upper tenth of their distances say: a wobble that moves few components at once shows in
    the tail first.
    """
    if len(days) < MIN_DAYS:
        return 1.0
    among = [squared_distance(own, reduce(add, comparable_days(number, days))) for number, own in days]
    free = max(free for _, free in among)
    if not free:
        return 1.0
    found = np.quantile([d for d, _ in among], _QUANTILE_LEVELS)
    return float(max(1.0, *(found / _chi2_quantiles(free))))


def p_value(day: DayMoments, days: Sequence[DayMoments]) -> float:
    """The chance that a quiet day is as far from days like it."""
    number, own = day
    other = reduce(add, comparable_days(number, days))
    found, free = squared_distance(own, other)
    if not free:
        return 1.0
    rest = max(own.units - free, 1)
    return float(f.sf(found / inflation_factor(days) / free, free, rest))


def benjamini_hochberg(p_values: NDArray[np.float64], false_discovery_rate: float) -> NDArray[np.bool_]:
    """Which of the p-values (n,) are findings when at most ``rate`` of findings may be false (Benjamini and Hochberg 1995)."""
    order = np.argsort(p_values)
    below = p_values[order] <= false_discovery_rate * np.arange(1, len(p_values) + 1) / max(len(p_values), 1)
    found = np.zeros(len(p_values), bool)
    if below.any():
        found[order[: int(np.flatnonzero(below)[-1]) + 1]] = True
    return found


@lru_cache
def _chi2_quantiles(free: int) -> NDArray[np.float64]:
    return chi2.ppf(_QUANTILE_LEVELS, free)
