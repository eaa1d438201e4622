"""Statistics that may be looked at all the time: confidence sequences, e-values, the mixture sequential test.

Knows nothing of releases. A fixed-horizon test that is looked at again and again raises a false alarm sooner or later;
these hold at every look at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

from vetrina.core.rollout_types import OutcomeStatistics

_PRIOR_UNITS = 1_000.0  # how strongly the sample-ratio test expects a mismatch to be small


def outcome_statistics(
    is_canary: NDArray[np.bool_], outcome: NDArray[np.float64], expected: NDArray[np.float64], share: float
) -> OutcomeStatistics:
    """The statistics of units (n,) that each had the chance ``share`` of the canary, with their outcome and expectation."""
    n = len(is_canary)
    n1 = int(is_canary.sum())
    if not n:
        return OutcomeStatistics()
    rest = outcome - expected
    w = share * (1.0 - share)
    v = np.stack([np.where(is_canary, rest / share, 0.0), np.where(is_canary, 0.0, rest / (1.0 - share)), expected])
    second = (v @ v.T)[np.triu_indices(3)]
    active = outcome > 0
    total = float(outcome[is_canary].sum())
    return OutcomeStatistics(
        (n - n1, n1),
        (int(active[~is_canary].sum()), int(active[is_canary].sum())),
        (float(outcome.sum()) - total, total),
        n * w,
        n * w * w,
        tuple((w * v.sum(1)).tolist()),
        tuple((w * w * v.sum(1)).tolist()),
        tuple((w * w * second).tolist()),
    )


@dataclass(frozen=True)
class EffectEstimate:
    """An effect, the standard deviation of one effective unit, and the effective number of units."""

    point: float
    unit_std: float
    effective_units: float


def estimate_effect(statistics: OutcomeStatistics, margin: float = 0.0) -> EffectEstimate:
    """Mean outcome with the canary less ``1 - margin`` of the mean with the champion, adjusted for what was expected.

    The unbiased score of a unit is z = a - (1 - margin) b + margin m (see Sums; Deng et al. 2013 call it CUPED). Units are
    weighted by p (1 - p), the inverse of the variance of z up to a constant: with equal weights the few hundred
    canary users of a 1 % step would drown what a 50 % step shows.
    """
    if statistics.w <= 0:
        return EffectEstimate(0.0, 0.0, 0.0)
    c = (1.0, margin - 1.0, margin)
    total = sum(x * y for x, y in zip(c, statistics.first, strict=True))
    cross = sum(x * y for x, y in zip(c, statistics.cross, strict=True))
    aa, ab, am, bb, bm, mm = statistics.second
    square = aa + c[1] * c[1] * bb + c[2] * c[2] * mm + 2.0 * (c[1] * ab + c[2] * am + c[1] * c[2] * bm)
    point = total / statistics.w
    variance = max(0.0, square - 2.0 * point * cross + point**2 * statistics.w2)
    return EffectEstimate(point, sqrt(variance / statistics.w), statistics.w)


def confidence_radius(estimate: EffectEstimate, alpha: float, rho_squared: float = 0.001) -> float:
    """Half width of the confidence sequence at level 1 - ``alpha``, both sides together; infinite without units.

    s sqrt(2 (n r^2 + 1) / (n^2 r^2) ln(sqrt(n r^2 + 1) / alpha)): Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
    "Time-uniform central limit theory and asymptotic confidence sequences" (2021), with n effective units.
    """
    n = estimate.effective_units
    if n <= 0:
        return float("inf")
    grown = n * rho_squared + 1.0
    return estimate.unit_std * sqrt(2.0 * grown / (n * n * rho_squared) * log(sqrt(grown) / alpha))


def mixture_likelihood_ratio(estimate: EffectEstimate, prior: float) -> float:
    """Mixture likelihood ratio of an effect of typical size ``prior`` against none (mSPRT; Johari et al. 2015).

    sqrt(V / (V + n t^2)) exp(n^2 t^2 d^2 / (2 V (V + n t^2))), V the variance of an effective unit. Capped at e^700.
    """
    n = estimate.effective_units
    v = estimate.unit_std**2
    t2 = prior**2
    if n <= 0 or v <= 0:
        return 1.0
    exponent = n * n * t2 * estimate.point**2 / (2.0 * v * (v + n * t2))
    return exp(min(700.0, exponent + 0.5 * log(v / (v + n * t2))))


def log_e_above(failures: int, total: int, limit: float) -> float:
    """Log e-value against "the rate of ``bad`` among ``of`` is at most ``limit``": large when it is shown to be above.

    A beta prior truncated to rates above the limit against the limit itself: B(a + x, b + n - x) / B(a, b) /
    (q^x (1 - q)^(n - x)), each B times its mass above q. The prior's mean is near twice the limit.
    """
    q = min(max(limit, 1e-6), 0.999)
    return _truncated_beta_log_e(failures, total, q, (1.0, max(1.0, 0.5 / q - 1.0)), betaincc)


def log_e_below(failures: int, total: int, limit: float) -> float:
    """Log e-value against "the rate is at least ``limit``": large when it is shown to be below.

    The same with a prior truncated to rates below the limit, its mean near half of it.
    """
    q = min(max(limit, 1e-6), 0.999)
    return _truncated_beta_log_e(failures, total, q, (1.0, max(1.0, 2.0 / q - 1.0)), betainc)


def _truncated_beta_log_e(x: int, n: int, q: float, prior: tuple[float, float], mass: Callable[..., float]) -> float:
    a, b = prior
    inside = mass(a + x, b + n - x, q)
    if inside <= 0.0:
        return -np.inf
    kept = np.log(inside) - np.log(mass(a, b, q))
    return float(betaln(a + x, b + n - x) - betaln(a, b) + kept - xlogy(x, q) - xlog1py(n - x, -q))


def log_e_sample_ratio(canary_units: int, total: int, share: float) -> float:
    """Log e-value against "each of the units went to the canary with chance ``share``", either way."""
    a = _PRIOR_UNITS * share
    b = _PRIOR_UNITS * (1.0 - share)
    marginal = betaln(a + canary_units, b + total - canary_units) - betaln(a, b)
    return float(marginal - xlogy(canary_units, share) - xlog1py(total - canary_units, -share))
