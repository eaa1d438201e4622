"""Retention rate of each product's users: the share who have another event within some days. Training side only."""

import numpy as np

from vetrina.core.arrays import Floats
from vetrina.core.clock import DAY
from vetrina.core.training_data import Interactions

_SMOOTHING_USERS = 20.0  # users by which a product's rate is shrunk to the mean rate


def retention_rates(events: Interactions | None, n_items: int, days: float) -> Floats:
    """Return the share (items,) of a product's users with another event soon after their first one on the product.

    Soon is more than a day and at most ``days`` later. Only users whose ``days`` ended before the end of the log count;
    NaN everywhere if there are none.

    Args:
        events: All events of the log.
        n_items: Number of items in the catalogue.
        days: Length of the window in days.
    """
    unknown = np.full(n_items, np.nan, np.float32)
    if events is None or not len(events):
        return unknown
    order = np.lexsort((events.time, events.item, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    is_new_pair = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    is_first_event = np.append(True, is_new_pair)
    is_complete = time + days * DAY <= events.until
    counted = is_first_event & is_complete
    if not counted.any():
        return unknown
    first_item = item[counted]
    first_time = time[counted]
    next_time = _next_event_times(events, user[counted], first_time + DAY)
    has_returned = next_time <= first_time + days * DAY
    n_users = np.bincount(first_item, minlength=n_items)
    n_returned = np.bincount(first_item, has_returned.astype(np.float64), n_items)
    mean_rate = float(has_returned.mean())
    rates = (n_returned + _SMOOTHING_USERS * mean_rate) / (n_users + _SMOOTHING_USERS)
    return rates.astype(np.float32)


def _next_event_times(events: Interactions, user: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Time of each user's first event later than ``after`` (n,), infinity where there is none."""
    log_start = float(events.time.min())
    log_length = float(events.time.max()) - log_start
    # One sorted key a moment of a user: users are so far apart that their moments don't overlap.
    width = log_length + 2.0 * DAY + float(np.max(after) - log_start)
    keys = np.sort(events.user * width + (events.time - log_start))
    position = np.searchsorted(keys, user * width + (after - log_start), side="right")
    next_key = keys[np.minimum(position, len(keys) - 1)]
    is_inside = position < len(keys)
    is_own = is_inside & (np.floor(next_key / width) == user)
    return np.where(is_own, next_key - user * width + log_start, np.inf)
