"""How much of what will follow has followed by now: delays that are seen only if they are short enough to be over.

A click of an hour ago was followed by few of the purchases that it will lead to; to count the others as "nobody bought" would
make new ads look bad. Delays d_i are known only where d_i <= a_i, the age of click i (right truncation). The share of all
delays that are at most t is F(t) = product over delays d > t of (1 - c_d / n_d), where c_d is how many are d long and
n_d = #{i: d_i <= d <= a_i} (Lynden-Bell 1971; the problem for ads: Chapelle 2014, "Modeling delayed feedback").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MIN_DELAYS = 20


@dataclass(frozen=True)
class DelayDistribution:
    """Seconds ``after`` (n,) ascending and the ``share`` (n,) of all delays that are at most as long."""

    delay_seconds: NDArray[np.float64]
    cumulative_share: NDArray[np.float64]

    def observed_share(self, age_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of what will follow that has followed by ``age`` seconds; all of it where too few delays are known."""
        if not len(self.delay_seconds):
            return np.ones(len(age_seconds))
        at = np.searchsorted(self.delay_seconds, age_seconds, "right")
        return np.append(0.0, self.cumulative_share)[at]


def estimate_delays(delay_seconds: NDArray[np.float64], age_seconds: NDArray[np.float64]) -> DelayDistribution:
    """From the delays seen (n,) and how long each could have been (n,), both in seconds; ``delay <= age`` of each."""
    if len(delay_seconds) < _MIN_DELAYS:
        return DelayDistribution(np.empty(0), np.empty(0))
    after, counts = np.unique(delay_seconds, return_counts=True)
    risk = np.searchsorted(np.sort(delay_seconds), after, "right") - np.searchsorted(
        np.sort(age_seconds), after, "left"
    )
    left = 1.0 - counts / np.maximum(risk, counts)
    return DelayDistribution(after, np.append(np.cumprod(left[::-1])[::-1][1:], 1.0))
