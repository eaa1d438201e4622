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

from vetrina.core.health import Moments

LEAST_UNITS, LEAST_DAYS = 100, 7
WEEK = 7
_LEVELS = (0.5, 0.9)
Numbered = tuple[int, Moments]  # a day's number and its moments


def alike(number: int, days: Sequence[Numbered]) -> list[Moments]:
    """Earlier moments to compare day ``number`` with: of the same weekday if two of them are there, else of all days."""
    others = [(n, m) for n, m in days if n != number]
    same = [m for n, m in others if (n - number) % WEEK == 0]
    return same if len(same) >= 2 else [m for _, m in others]


def distance(a: Moments, b: Moments) -> tuple[float, int]:
    """Squared distance of the means in units of its own sampling error, and its degrees of freedom."""
    spread = a.covariance() / a.units + b.covariance() / b.units
    values, vectors = np.linalg.eigh(spread)
    kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
    along = (a.mean() - b.mean()) @ vectors[:, kept]
    return float((along**2 / values[kept]).sum()), int(kept.sum())


def moved(a: Moments, b: Moments) -> float:
    """The largest shift of a component, in standard deviations of a unit."""
    sd = np.sqrt(np.maximum(b.covariance().diagonal(), 1e-12))
    return float(np.abs((a.mean() - b.mean()) / sd).max(initial=0.0))


def width(days: Sequence[Numbered]) -> float:
    """The factor by which quiet days differ more than the draw of their units explains; at least 1.

    The larger of what the middle and the upper tenth of their distances say: a wobble that moves few components at once shows in
    the tail first.
    """
    if len(days) < LEAST_DAYS:
        return 1.0
    among = [distance(own, reduce(add, alike(number, days))) for number, own in days]
    free = max(free for _, free in among)
    if not free:
        return 1.0
    found = np.quantile([d for d, _ in among], _LEVELS)
    return float(max(1.0, *(found / _usual(free))))


def p_value(day: Numbered, days: Sequence[Numbered]) -> float:
    """The chance that a quiet day is as far from days like it."""
    number, own = day
    other = reduce(add, alike(number, days))
    found, free = distance(own, other)
    if not free:
        return 1.0
    rest = max(own.units - free, 1)
    return float(f.sf(found / width(days) / free, free, rest))


def discoveries(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Which of the p-values (n,) are findings when at most ``rate`` of findings may be false (Benjamini and Hochberg 1995)."""
    order = np.argsort(p)
    below = p[order] <= rate * np.arange(1, len(p) + 1) / max(len(p), 1)
    found = np.zeros(len(p), bool)
    if below.any():
        found[order[: int(np.flatnonzero(below)[-1]) + 1]] = True
    return found


@lru_cache
def _usual(free: int) -> NDArray[np.float64]:
    return chi2.ppf(_LEVELS, free)
