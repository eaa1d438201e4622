"""Off-policy value estimators: SNIPS, doubly robust and beta*-IPS.

They estimate the reward a policy would have earned from the log of another one with known action probabilities. Samples are
actions with reward r and importance weight w, the probability of the action under the evaluated policy over that under the
logging policy. IPS, the mean of w r, is unbiased if the logging policy could have taken every action of the evaluated one,
but its variance is large; each estimator here reduces it in its own way:

- SNIPS (Swaminathan and Joachims 2015): sum w r / sum w.
- DR, doubly robust (Dudik, Langford and Li 2011): mean of q_policy + w (r - q_logged), q being a model of the reward.
- beta*-IPS (Gupta, Jeunen, Oosterhuis and de Rijke, RecSys 2024): mean of w (r - beta) + beta with the beta of least variance,
  mean((w^2 - w) r) / mean(w^2 - w).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

_N_RESAMPLES = 1_000
_MAX_COUNTS_PER_CHUNK = 2_000_000  # counts (resamples, units) held in memory at once


@dataclass(frozen=True)
class LoggedSamples:
    """Logged actions, as arrays (n,).

    Attributes:
        unit: Number of the user; samples of one user are not independent.
        importance_weight: w of the module's formulas.
        reward: r of the module's formulas.
        logged_reward_estimate: q_logged, the reward that a model expects of the logged action.
        policy_reward_estimate: q_policy, the reward that it expects of the evaluated policy's action.
    """

    unit: NDArray[np.integer]
    importance_weight: NDArray[np.float64]
    reward: NDArray[np.float64]
    logged_reward_estimate: NDArray[np.float64]
    policy_reward_estimate: NDArray[np.float64]


@dataclass(frozen=True)
class OffPolicyValue:
    """Estimated rewards a sample of the evaluated policy, with 95 % intervals over units.

    Attributes:
        snips: SNIPS estimate.
        dr: Doubly robust estimate.
        beta_ips: beta*-IPS estimate.
        logged_value: Mean reward of the logging policy.
        effective_samples: Effective sample size (sum w)^2 / sum w^2.
        support: Mean of w, which estimates the share of the policy's actions that could have been logged.
        n_samples: Number of samples.
    """

    snips: Interval
    dr: Interval
    beta_ips: Interval
    logged_value: float
    effective_samples: float
    support: float
    n_samples: int

    @property
    def estimates(self) -> tuple[Interval, Interval, Interval]:
        """All three: SNIPS, DR and beta*-IPS."""
        return (self.snips, self.dr, self.beta_ips)


def estimate_value(samples: LoggedSamples, seed: int = 42) -> OffPolicyValue:
    """Return the estimated value of a policy; the intervals are bootstrapped over units.

    Args:
        samples: At least one logged sample.
        seed: Seed of the bootstrap.
    """
    unit_sums = _sums_by_unit(samples)
    point = _estimates(unit_sums.sum(0)[None])[0]
    low, high = np.nanquantile(_bootstrap_estimates(unit_sums, seed), [0.025, 0.975], axis=0)
    snips, dr, beta_ips = (Interval(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True))
    weight = samples.importance_weight
    squared_weights = max(float((weight * weight).sum()), 1e-300)
    return OffPolicyValue(
        snips=snips,
        dr=dr,
        beta_ips=beta_ips,
        logged_value=float(samples.reward.mean()),
        effective_samples=float(weight.sum() ** 2 / squared_weights),
        support=float(weight.mean()),
        n_samples=len(weight),
    )


def _bootstrap_estimates(unit_sums: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(resamples, 3) estimates of resampled units."""
    rng = np.random.default_rng(seed)
    n_units = len(unit_sums)
    equal_chances = np.full(n_units, 1.0 / n_units)
    chunk = max(1, _MAX_COUNTS_PER_CHUNK // n_units)
    resampled: list[NDArray[np.float64]] = []
    for done in range(0, _N_RESAMPLES, chunk):
        n_resamples = min(chunk, _N_RESAMPLES - done)
        unit_counts = rng.multinomial(n_units, equal_chances, size=n_resamples)
        resampled.append(_estimates(unit_counts @ unit_sums))
    return np.concatenate(resampled)


def _sums_by_unit(samples: LoggedSamples) -> NDArray[np.float64]:
    """(units, 6): sums of 1, w, w r, w^2, w^2 r, and the terms of DR."""
    w = samples.importance_weight
    r = samples.reward
    terms: tuple[NDArray[np.float64], ...] = (
        np.ones(len(w)),
        w,
        w * r,
        w * w,
        w * w * r,
        samples.policy_reward_estimate + w * (r - samples.logged_reward_estimate),
    )
    _, unit = np.unique(samples.unit, return_inverse=True)
    return np.stack([np.bincount(unit, term) for term in terms], 1).astype(np.float64)


def _estimates(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, 3) SNIPS, DR and beta*-IPS from the sums (m, 6) of ``_sums_by_unit``."""
    n, w, wr, w2, w2r, dr = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(w2 - w > 0, (w2r - wr) / (w2 - w), 0.0)
        beta_ips = (wr - beta * w) / n + beta
        return np.stack([wr / w, dr / n, beta_ips], 1)
