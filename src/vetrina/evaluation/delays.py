"""Distribution of conversion delays under right truncation (Lynden-Bell 1971).

Few of the purchases that a click of an hour ago will lead to have happened yet; to count the others as "no purchase" would
make new ads look bad. Delays d_i are observed only where d_i <= a_i, the age of click i (right truncation). The share of all
delays that are at most t is F(t) = product over delays d > t of (1 - c_d / n_d), where c_d is how many are d long and
n_d = #{i: d_i <= d <= a_i} (the problem for ads: Chapelle 2014, "Modeling delayed feedback").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MIN_DELAYS = 20  # observed delays below which nothing is estimated


@dataclass(frozen=True)
class DelayDistribution:
    """Delays in seconds (n,) ascending, and the share (n,) of all delays that are at most as long."""

    delay_seconds: NDArray[np.float64]
    cumulative_share: NDArray[np.float64]

    def observed_share(self, age_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of a click's conversions that happen within its age (n,); 1 if too few delays are known."""
        if not len(self.delay_seconds):
            return np.ones(len(age_seconds))
        n_shorter = np.searchsorted(self.delay_seconds, age_seconds, "right")
        return np.append(0.0, self.cumulative_share)[n_shorter]


def estimate_delays(delay_seconds: NDArray[np.float64], age_seconds: NDArray[np.float64]) -> DelayDistribution:
    """Return the delay distribution; an empty one for fewer than 20 delays.

    Args:
        delay_seconds: (n,) observed delays.
        age_seconds: (n,) age of each delay's click now, which is at least the delay.
    """
    if len(delay_seconds) < _MIN_DELAYS:
        return DelayDistribution(np.empty(0), np.empty(0))
    distinct_delays, counts = np.unique(delay_seconds, return_counts=True)
    n_delays_up_to = np.searchsorted(np.sort(delay_seconds), distinct_delays, "right")
    n_ages_below = np.searchsorted(np.sort(age_seconds), distinct_delays, "left")
    at_risk = n_delays_up_to - n_ages_below
    factors = 1.0 - counts / np.maximum(at_risk, counts)
    products_from_end = np.cumprod(factors[::-1])[::-1]
    return DelayDistribution(distinct_delays, np.append(products_from_end[1:], 1.0))
