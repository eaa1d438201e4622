"""Who comes back: of the users who took a product, how many act again within some days. Training side only."""

import numpy as np

from vetrina.core.clock import DAY
from vetrina.core.types import Floats, Interactions

_SMOOTHING_USERS = 20.0  # users by which a product is drawn to the mean of all


def retention_rates(events: Interactions | None, n_items: int, days: float) -> Floats:
    """(items,) share of a product's users who act again more than a day and at most ``days`` after they first took it.

    Only those are counted whose ``days`` are over; NaN everywhere where there are none.
    """
    found = np.full(n_items, np.nan, np.float32)
    if events is None or not len(events):
        return found
    order = np.lexsort((events.time, events.item, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    first = np.append(True, (user[1:] != user[:-1]) | (item[1:] != item[:-1])) & (time + days * DAY <= events.until)
    if not first.any():
        return found
    back = _next_event_times(events, user[first], time[first] + DAY) <= time[first] + days * DAY
    takers, returned = (np.bincount(item[first], weights, n_items) for weights in (None, back.astype(np.float64)))
    mean = float(back.mean())
    return ((returned + _SMOOTHING_USERS * mean) / (takers + _SMOOTHING_USERS)).astype(np.float32)


def _next_event_times(events: Interactions, user: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The time of each user's first event later than ``after`` (n,), infinity where there is none."""
    begin = float(events.time.min())
    width = float(events.time.max()) - begin + 2.0 * DAY + float(np.max(after) - begin)
    keys = np.sort(events.user * width + (events.time - begin))
    at = np.searchsorted(keys, user * width + (after - begin), side="right")
    inside = at < len(keys)
    found = keys[np.minimum(at, len(keys) - 1)]
    own = inside & (np.floor(found / width) == user)
    return np.where(own, found - user * width + begin, np.inf)
