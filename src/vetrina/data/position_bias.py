"""Position-based click model, estimated by expectation maximisation (Wang et al. 2018).

A product is clicked if its position was examined and the product is relevant. Both factors are estimated together (Wang,
Golbandi, Bendersky, Metzler and Najork, "Position bias estimation for unbiased learning to rank in personal search", 2018).
Products with equal scores are taken as equally relevant; they stand at different positions in different answers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EM_ITERATIONS = 200
_MIN_CLICKS = 200  # below which nothing is estimated
_EPSILON = 1e-9  # smallest probability and smallest divisor


@dataclass(frozen=True)
class PositionBias:
    """Factors of the click model.

    Attributes:
        examination: (positions,) chance that a position is examined, relative to the first one.
        relevance: (scores,) chance of a click at the first position.
        is_estimated: False if there were too few clicks, so that a default stands in.
    """

    examination: NDArray[np.float64]
    relevance: NDArray[np.float64]
    is_estimated: bool


def estimate_position_bias(impressions: NDArray[np.float64], clicks: NDArray[np.float64]) -> PositionBias:
    """Return the click model of counted impressions and clicks.

    With fewer than 200 clicks the logarithmic discount of DCG stands in for the examination.

    Args:
        impressions: (scores, positions) number of impressions by score bin and position.
        clicks: (scores, positions) number of clicks among them.
    """
    n_positions = impressions.shape[1]
    examination = 1.0 / np.log2(2.0 + np.arange(n_positions))
    impressions_of_score = np.maximum(impressions.sum(1), _EPSILON)
    impressions_of_position = np.maximum(impressions.sum(0), _EPSILON)
    examined_impressions = np.maximum(impressions @ examination, _EPSILON)
    relevance = np.clip(clicks.sum(1) / examined_impressions, _EPSILON, 1.0)
    has_enough_clicks = bool(clicks.sum() >= _MIN_CLICKS)
    iterations = 0
    if has_enough_clicks:
        iterations = _EM_ITERATIONS
    not_clicked = impressions - clicks
    for _ in range(iterations):
        # An impression without a click was examined but not relevant, or relevant but not examined, or neither.
        no_click_chance = np.maximum(1.0 - np.outer(relevance, examination), _EPSILON)
        examined_only = examination[None] * (1.0 - relevance[:, None])
        relevant_only = relevance[:, None] * (1.0 - examination[None])
        examined = clicks + not_clicked * examined_only / no_click_chance
        relevant = clicks + not_clicked * relevant_only / no_click_chance
        examination = np.clip(examined.sum(0) / impressions_of_position, _EPSILON, 1.0)
        relevance = np.clip(relevant.sum(1) / impressions_of_score, _EPSILON, 1.0)
    # Only the product of the two factors is observed: the first position is taken as always examined.
    return PositionBias(
        examination / examination[0],
        np.minimum(relevance * examination[0], 1.0),
        has_enough_clicks,
    )
