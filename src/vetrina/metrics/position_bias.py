"""How much of a click is the place, and how much the product.

The position-based model: a product is clicked if its place was looked at and it was wanted. Both factors are found together
by expectation maximisation (Wang, Golbandi, Bendersky, Metzler and Najork, "Position bias estimation for unbiased learning to
rank in personal search", 2018), with the score as what tells how wanted a product is: equal scores stand at different
places in different answers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EM_ITERATIONS = 200
_MIN_CLICKS = 200


@dataclass(frozen=True)
class PositionBias:
    """``looked`` (places,) relative to the first place; ``wanted`` (scores,) chance of a click at the first place."""

    examination: NDArray[np.float64]
    relevance: NDArray[np.float64]
    is_estimated: bool


def estimate_position_bias(impressions: NDArray[np.float64], clicks: NDArray[np.float64]) -> PositionBias:
    """From counts by (scores, places). With too few clicks the logarithmic discount of DCG stands in, marked as such."""
    places = impressions.shape[1]
    looked = 1.0 / np.log2(2.0 + np.arange(places))
    enough = bool(clicks.sum() >= _MIN_CLICKS)
    seen = np.maximum(impressions.sum(1), 1e-9)
    wanted = np.clip(clicks.sum(1) / np.maximum(impressions @ looked, 1e-9), 1e-9, 1.0)
    for _ in range(_EM_ITERATIONS if enough else 0):
        # Of what was not clicked: was it looked at and not wanted, or wanted and not looked at?
        both = np.outer(wanted, looked)
        missed = impressions - clicks
        looked_at = clicks + missed * (looked[None] * (1.0 - wanted[:, None])) / np.maximum(1.0 - both, 1e-9)
        was_wanted = clicks + missed * (wanted[:, None] * (1.0 - looked[None])) / np.maximum(1.0 - both, 1e-9)
        looked = np.clip(looked_at.sum(0) / np.maximum(impressions.sum(0), 1e-9), 1e-9, 1.0)
        wanted = np.clip(was_wanted.sum(1) / seen, 1e-9, 1.0)
    # Only the product of the two is seen: the first place is taken as always looked at.
    return PositionBias(looked / looked[0], np.minimum(wanted * looked[0], 1.0), enough)
