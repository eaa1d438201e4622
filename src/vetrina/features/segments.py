"""User segments by recency, frequency and monetary value (RFM; Hughes 1994).

Each is a quintile of all users, from 1 to 5, the best.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats
from vetrina.core.errors import BadInput
from vetrina.features.affinities import USER_FEATURES

_NEW_USER_DAYS = 28.0


def rfm_segments(user_features: Floats) -> Mapping[str, NDArray[np.bool_]]:
    """Return the members (users,) of each segment by name; a user may be in several.

    Args:
        user_features: (users, affinities.USER_FEATURES) features of all users.
    """
    column = {name: user_features[:, number] for number, name in enumerate(USER_FEATURES)}
    recency = _quintile(-column["days since"])
    frequency = _quintile(column["events"])
    value = _quintile(column["value"])
    return {
        "best": (recency >= 4) & (frequency >= 4) & (value >= 4),
        "loyal": frequency >= 4,
        "big spenders": value == 5,
        "new": column["days known"] <= _NEW_USER_DAYS,
        "promising": (recency >= 4) & (frequency <= 2),
        "at risk": (recency <= 2) & (frequency >= 4),
        "lost": (recency == 1) & (frequency <= 2),
    }


def segment_members(user_features: Floats, name: str) -> NDArray[np.bool_]:
    """Return the members (users,) of one segment.

    Raises:
        BadInput: There is no segment ``name``.
    """
    segments = rfm_segments(user_features)
    if name not in segments:
        raise BadInput(f"segment {name!r}", "is unknown", f"use one of {', '.join(segments)}")
    return segments[name]


def _quintile(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Quintile (users,) from 1 to 5 of each value; equal values share their average rank, so they are in one quintile."""
    sorted_values = np.sort(values)
    n_below = np.searchsorted(sorted_values, values, "left")
    n_up_to = np.searchsorted(sorted_values, values, "right")
    twice_rank = n_below + n_up_to
    fifth = 5 * twice_rank // max(1, 2 * len(values))
    return 1 + np.minimum(4, fifth)
