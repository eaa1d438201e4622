"""Users by recency, frequency and value: fifths of all users by each, 5 the best (RFM: Hughes 1994)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import BadInput
from vetrina.core.types import Floats
from vetrina.features.affinities import USER_FEATURES

_NEW_USER_DAYS = 28.0


def rfm_segments(user_features: Floats) -> Mapping[str, NDArray[np.bool_]]:
    """(users,) of each segment; a user may be in several. ``of_user`` (users, affinities.OF_USER)."""
    column = {name: user_features[:, at] for at, name in enumerate(USER_FEATURES)}
    recency, frequency, value = (_quintile(v) for v in (-column["days since"], column["events"], column["value"]))
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
    """(users,) of one segment. Raises BadInput."""
    found = rfm_segments(user_features)
    if name not in found:
        raise BadInput(f"segment {name!r}", "is unknown", f"use one of {', '.join(found)}")
    return found[name]


def _quintile(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """1 to 5 by the place among all; equal users share the middle of their places, so that they are in one fifth."""
    ordered = np.sort(values)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return 1 + np.minimum(4, 5 * twice // max(1, 2 * len(values)))
