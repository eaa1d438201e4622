"""What a policy would have earned, from the log of another one that drew with known chances.

Samples are actions with reward r, and w, the chance of that action with the policy in question over the chance with which it
was drawn. IPS, the mean of w r, is unbiased where everything the policy would do could have been drawn, and varies wildly; each
estimator here tames it in its own way:

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
_MAX_COUNTS_PER_CHUNK = 2_000_000


@dataclass(frozen=True)
class LoggedSamples:
    """Arrays (n,): ``unit`` (samples of one shopper are not independent), weight ``w``, ``reward``, and the rewards that a
    model expects of the drawn action (``logged``) and of the policy's (``expected``)."""

    unit: NDArray[np.integer]
    importance_weight: NDArray[np.float64]
    reward: NDArray[np.float64]
    logged_reward_estimate: NDArray[np.float64]
    policy_reward_estimate: NDArray[np.float64]


@dataclass(frozen=True)
class OffPolicyValue:
    """Values a sample with 95 % intervals over units; what was really earned; and how far the log carries.

    ``effective`` is the effective sample size (sum w)^2 / sum w^2; ``support``, the mean of w, estimates the share of the
    policy's actions that could have been drawn.
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
        """All three."""
        return (self.snips, self.dr, self.beta_ips)


def estimate_value(samples: LoggedSamples, seed: int = 42) -> OffPolicyValue:
    """At least one sample and one unit."""
    sums = _sums_by_unit(samples)
    rng = np.random.default_rng(seed)
    units = len(sums)
    step = max(1, _MAX_COUNTS_PER_CHUNK // len(sums))
    draws = []
    for done in range(0, _N_RESAMPLES, step):
        counts = rng.multinomial(units, np.full(units, 1.0 / units), size=min(step, _N_RESAMPLES - done))
        draws.append(_estimates(counts @ sums))
    spread = np.concatenate(draws)
    point = _estimates(sums.sum(0)[None])[0]
    low, high = np.nanquantile(spread, [0.025, 0.975], axis=0)
    snips, dr, beta = (Interval(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True))
    w = samples.importance_weight
    effective = float(w.sum() ** 2 / max(float((w * w).sum()), 1e-300))
    return OffPolicyValue(snips, dr, beta, float(samples.reward.mean()), effective, float(w.mean()), len(w))


def _sums_by_unit(found: LoggedSamples) -> NDArray[np.float64]:
    """(units, 6): n, w, w r, w^2, w^2 r, and the terms of DR."""
    w = found.importance_weight
    r = found.reward
    terms: tuple[NDArray[np.float64], ...] = (
        np.ones(len(w)),
        w,
        w * r,
        w * w,
        w * w * r,
        found.policy_reward_estimate + w * (r - found.logged_reward_estimate),
    )
    unit = np.unique(found.unit, return_inverse=True)[1]
    return np.stack([np.bincount(unit, t) for t in terms], 1).astype(np.float64)


def _estimates(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, 3) of sums (m, 6)."""
    n, w, wr, w2, w2r, dr = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(w2 - w > 0, (w2r - wr) / (w2 - w), 0.0)
        return np.stack([wr / w, dr / n, (wr - beta * w) / n + beta], 1)
