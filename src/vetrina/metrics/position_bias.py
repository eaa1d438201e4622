"""How much of a click is the place, and how much the product.

The position-based model: a product is clicked if its place was looked at and it was wanted. Both factors are found together
by expectation maximisation (Wang, Golbandi, Bendersky, Metzler and Najork, "Position bias estimation for unbiased learning to
rank in personal search", 2018), with the score as what tells how wanted a product is: equal scores stand at different
places in different answers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _LEAST_CLICKS = 200, 200


@dataclass(frozen=True)
class Bias:
    """``looked`` (places,) relative to the first place; ``wanted`` (scores,) chance of a click at the first place."""

    looked: NDArray[np.float64]
    wanted: NDArray[np.float64]
    estimated: bool


def estimate(shown: NDArray[np.float64], clicked: NDArray[np.float64]) -> Bias:
    """From counts by (scores, places). With too few clicks the logarithmic discount of DCG stands in, marked as such."""
    places = shown.shape[1]
    looked = 1.0 / np.log2(2.0 + np.arange(places))
    enough = bool(clicked.sum() >= _LEAST_CLICKS)
    seen = np.maximum(shown.sum(1), 1e-9)
    wanted = np.clip(clicked.sum(1) / np.maximum(shown @ looked, 1e-9), 1e-9, 1.0)
    for _ in range(_ROUNDS if enough else 0):
        # Of what was not clicked: was it looked at and not wanted, or wanted and not looked at?
        both = np.outer(wanted, looked)
        missed = shown - clicked
        looked_at = clicked + missed * (looked[None] * (1.0 - wanted[:, None])) / np.maximum(1.0 - both, 1e-9)
        was_wanted = clicked + missed * (wanted[:, None] * (1.0 - looked[None])) / np.maximum(1.0 - both, 1e-9)
        looked = np.clip(looked_at.sum(0) / np.maximum(shown.sum(0), 1e-9), 1e-9, 1.0)
        wanted = np.clip(was_wanted.sum(1) / seen, 1e-9, 1.0)
    # Only the product of the two is seen: the first place is taken as always looked at.
    return Bias(looked / looked[0], np.minimum(wanted * looked[0], 1.0), enough)
