"""Options of recommend's quick recipe, which is released while nothing serves and tunes nothing."""

from typing import Any

import numpy as np

from vetrina.core.types import TrainingData

MIN_REPEAT_SHARE = 0.05  # of next items that are repeats, from which repeats are recommended


def options(training_data: TrainingData, since: float) -> dict[str, Any]:
    """The options for serving: whether items that a user has interacted with are recommended again.

    Args:
        training_data: its interactions are used.
        since: repeats are counted from this moment on, in seconds since 1970.
    """
    exclude_seen = _repeat_share_since(training_data, since) < MIN_REPEAT_SHARE
    return {"exclude_seen": exclude_seen, "session_repeats": False, "ranked": {}}


def _repeat_share_since(training_data: TrainingData, since: float) -> float:
    """Share of the distinct items of known users from a moment on that the same user had interacted with before."""
    events = training_data.interactions
    if events is None or not len(events):
        return 0.0
    n_items = int(events.item.max()) + 1
    user_items = events.user.astype(np.int64) * n_items + events.item
    is_later = events.time >= since
    earlier = np.unique(user_items[~is_later])
    later = np.unique(user_items[is_later])
    is_of_known_user = np.isin(later // n_items, np.unique(events.user[~is_later]))
    if not is_of_known_user.any():
        return 0.0
    return float(np.isin(later[is_of_known_user], earlier).mean())
