"""Sequential statistics, valid at every look: confidence sequences, e-values and the mixture SPRT.

A fixed-horizon test that is repeated as data come in sooner or later raises a false alarm; these hold at all looks at once.
Knows nothing of releases.
"""

# pyright: reportMissingTypeStubs=false
# SciPy has no types.

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

from vetrina.core.rollout_types import OutcomeStatistics

_PRIOR_UNITS = 1_000.0  # how strongly the sample-ratio test expects a mismatch to be small
_MAX_LOG_RATIO = 700.0  # e^700 still fits a float
_MIN_RATE = 1e-6
_MAX_RATE = 0.999


def outcome_statistics(
    is_candidate: NDArray[np.bool_],
    outcome: NDArray[np.float64],
    expected: NDArray[np.float64],
    share: float,
) -> OutcomeStatistics:
    """Return the sufficient statistics of units that were assigned to the candidate at random.

    Args:
        is_candidate: (n,) whether each unit was served by the candidate.
        outcome: (n,) outcome of each unit.
        expected: (n,) outcome that was expected of each unit before.
        share: Chance of each unit to be assigned to the candidate.
    """
    n_units = len(is_candidate)
    if not n_units:
        return OutcomeStatistics()
    n_candidate = int(is_candidate.sum())
    residual = outcome - expected
    weight = share * (1.0 - share)
    candidate_score = np.where(is_candidate, residual / share, 0.0)
    champion_score = np.where(is_candidate, 0.0, residual / (1.0 - share))
    scores = np.stack([candidate_score, champion_score, expected])
    second_moments = (scores @ scores.T)[np.triu_indices(3)]
    is_active = outcome > 0
    candidate_outcome = float(outcome[is_candidate].sum())
    champion_outcome = float(outcome.sum()) - candidate_outcome
    return OutcomeStatistics(
        (n_units - n_candidate, n_candidate),
        (int(is_active[~is_candidate].sum()), int(is_active[is_candidate].sum())),
        (champion_outcome, candidate_outcome),
        n_units * weight,
        n_units * weight * weight,
        tuple((weight * scores.sum(1)).tolist()),
        tuple((weight * weight * scores.sum(1)).tolist()),
        tuple((weight * weight * second_moments).tolist()),
    )


@dataclass(frozen=True)
class EffectEstimate:
    """An effect, the standard deviation of one effective unit, and the effective number of units."""

    point: float
    unit_std: float
    effective_units: float


def estimate_effect(statistics: OutcomeStatistics, margin: float = 0.0) -> EffectEstimate:
    """Return the mean outcome with the canary minus ``1 - margin`` of that with the champion, adjusted for expectations.

    The unbiased score of a unit is z = a - (1 - margin) b + margin m (see OutcomeStatistics; Deng et al. 2013 call it CUPED).
    Units are weighted by p (1 - p), the inverse of the variance of z up to a constant: with equal weights the few hundred
    canary users of a 1 % step would drown what a 50 % step shows.

    Args:
        statistics: Sums over all units.
        margin: Non-inferiority margin, relative to the champion's mean.
    """
    if statistics.w <= 0:
        return EffectEstimate(0.0, 0.0, 0.0)
    coefficients = (1.0, margin - 1.0, margin)  # of a, b and m
    _, b, m = coefficients
    weighted_sum = sum(c * first for c, first in zip(coefficients, statistics.first, strict=True))
    cross_sum = sum(c * cross for c, cross in zip(coefficients, statistics.cross, strict=True))
    aa, ab, am, bb, bm, mm = statistics.second
    square_sum = aa + b * b * bb + m * m * mm + 2.0 * (b * ab + m * am + b * m * bm)
    point = weighted_sum / statistics.w
    squared_deviations = square_sum - 2.0 * point * cross_sum + point * point * statistics.w2
    if not isfinite(squared_deviations):  # sums too large to compute with show nothing
        return EffectEstimate(point, float("inf"), statistics.w)
    return EffectEstimate(point, sqrt(max(0.0, squared_deviations) / statistics.w), statistics.w)


def confidence_radius(estimate: EffectEstimate, alpha: float, rho_squared: float = 0.001) -> float:
    """Return the half width of the two-sided confidence sequence at level 1 - ``alpha``; infinite without units.

    s sqrt(2 (n r^2 + 1) / (n^2 r^2) ln(sqrt(n r^2 + 1) / alpha)): Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
    "Time-uniform central limit theory and asymptotic confidence sequences" (2021), with n effective units.

    Args:
        estimate: The effect with its n and s.
        alpha: Chance that the sequence ever misses the effect.
        rho_squared: r^2, which sets the sample size at which the sequence is tightest.
    """
    n = estimate.effective_units
    if n <= 0:
        return float("inf")
    growth = n * rho_squared + 1.0
    scale = 2.0 * growth / (n * n * rho_squared)
    return estimate.unit_std * sqrt(scale * log(sqrt(growth) / alpha))


def mixture_likelihood_ratio(estimate: EffectEstimate, prior: float) -> float:
    """Return the mixture likelihood ratio of an effect against none (mSPRT; Johari et al. 2015).

    sqrt(V / (V + n t^2)) exp(n^2 t^2 d^2 / (2 V (V + n t^2))), V the variance of an effective unit. Capped at e^700.

    Args:
        estimate: The effect d with its n and sqrt(V).
        prior: t, the standard deviation of effects under the alternative: their typical size.
    """
    n = estimate.effective_units
    unit_variance = estimate.unit_std**2
    prior_variance = prior**2
    if n <= 0 or unit_variance <= 0 or not isfinite(unit_variance):
        return 1.0
    total_variance = unit_variance + n * prior_variance
    exponent = n * n * prior_variance * estimate.point**2 / (2.0 * unit_variance * total_variance)
    log_ratio = exponent + 0.5 * log(unit_variance / total_variance)
    return exp(min(_MAX_LOG_RATIO, log_ratio))


def log_e_above(failures: int, total: int, limit: float) -> float:
    """Return the log e-value against "the failure rate is at most ``limit``": large when it is shown to be above.

    A beta prior truncated to rates above the limit against the limit itself: B(a + x, b + n - x) / B(a, b) /
    (q^x (1 - q)^(n - x)), each B times its mass above q. The prior's mean is near twice the limit.

    Args:
        failures: Number x of failures.
        total: Number n of trials.
        limit: Rate q, between 0 and 1.
    """
    q = min(max(limit, _MIN_RATE), _MAX_RATE)
    prior = (1.0, max(1.0, 0.5 / q - 1.0))
    return _truncated_beta_log_e(failures, total, q, prior, betaincc)


def log_e_below(failures: int, total: int, limit: float) -> float:
    """Return the log e-value against "the failure rate is at least ``limit``": large when it is shown to be below.

    As ``log_e_above``, with a prior truncated to rates below the limit, its mean near half of it.

    Args:
        failures: Number x of failures.
        total: Number n of trials.
        limit: Rate q, between 0 and 1.
    """
    q = min(max(limit, _MIN_RATE), _MAX_RATE)
    prior = (1.0, max(1.0, 2.0 / q - 1.0))
    return _truncated_beta_log_e(failures, total, q, prior, betainc)


def _truncated_beta_log_e(x: int, n: int, q: float, prior: tuple[float, float], mass: Callable[..., float]) -> float:
    """Log e-value of a truncated beta prior (a, b); ``mass`` is the prior's mass on its side of q."""
    a, b = prior
    posterior_mass = mass(a + x, b + n - x, q)
    if posterior_mass <= 0.0:
        return -_MAX_LOG_RATIO  # finite, because it is stored
    log_mass_ratio = np.log(posterior_mass) - np.log(mass(a, b, q))
    log_beta_ratio = betaln(a + x, b + n - x) - betaln(a, b)
    return float(log_beta_ratio + log_mass_ratio - xlogy(x, q) - xlog1py(n - x, -q))


def log_e_sample_ratio(canary_units: int, total: int, share: float) -> float:
    """Return the log e-value against "each unit was assigned to the canary with chance ``share``", in either direction.

    Args:
        canary_units: Number of units that the canary served.
        total: Number of all units.
        share: Chance that was meant.
    """
    a = _PRIOR_UNITS * share
    b = _PRIOR_UNITS * (1.0 - share)
    log_beta_ratio = betaln(a + canary_units, b + total - canary_units) - betaln(a, b)
    return float(log_beta_ratio - xlogy(canary_units, share) - xlog1py(total - canary_units, -share))
