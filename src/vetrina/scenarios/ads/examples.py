"""Training examples from ad impressions, with user features as of before each time block.

The impressions are split into a few blocks of time. The features of an impression are computed from the events before its
block, so no feature contains the click that it should predict.
"""

import numpy as np

from vetrina.core.arrays import Ints
from vetrina.core.training_data import AdImpressions, Interactions
from vetrina.features import affinities
from vetrina.features.affinities import COLUMNS
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, NO_EVENT, ImpressionFeatures

_TIME_BLOCKS = 12


def training_examples(
    impressions: AdImpressions, events: Interactions, category_levels: Ints, prices: np.ndarray
) -> ImpressionFeatures:
    """One training example per impression.

    Args:
        impressions: n impressions, oldest first.
        events: the users' interactions.
        category_levels: (items, levels) codes of the catalogue's categories.
        prices: (items,) of the catalogue.
    """
    first_seen = affinities.first_seen(events, len(category_levels))
    affinity_features = np.zeros((len(impressions), len(COLUMNS)), np.float32)
    user_rows = lookup_rows(events.users, impressions.users)[impressions.user]
    for block in np.array_split(np.arange(len(impressions)), _TIME_BLOCKS):
        if not len(block):
            continue
        block_start = float(impressions.time[block[0]])
        past = affinities.build(events, category_levels, prices, first_seen, block_start)
        for item in np.unique(impressions.item[block]).tolist():
            is_of_item = (impressions.item[block] == item) & (user_rows[block] >= 0)
            rows = block[is_of_item]
            affinity_features[rows] = past.features_for_product(
                category_levels[item], float(prices[item]), user_rows[rows]
            )
    return ImpressionFeatures.build(
        affinity_features,
        category_levels[impressions.item],
        _recent_category_levels(impressions, events, user_rows, category_levels),
        impressions.position,
    )


def lookup_rows(sorted_ids: np.ndarray, ids: np.ndarray) -> Ints:
    """(n,) int32 row of each of ``ids`` (n,) in ``sorted_ids``, -1 where it is missing."""
    if not len(sorted_ids):
        return np.full(len(ids), -1, np.int32)
    rows = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.where(sorted_ids[rows] == ids, rows, -1).astype(np.int32)


def _recent_category_levels(
    impressions: AdImpressions, events: Interactions, user_rows: Ints, category_levels: Ints
) -> Ints:
    """(n, MAX_RECENT_EVENTS, levels): categories of each user's last events before each impression, newest first.

    Events are sorted by one key of user and time, so that a single binary search finds the events before every impression.

    Args:
        impressions: n impressions.
        events: the users' interactions.
        user_rows: (n,) row of each impression's user in ``events.users``, -1 for an unknown one.
        category_levels: (items, levels) codes of the catalogue's categories.
    """
    order = np.lexsort((events.time, events.user))
    sorted_users = events.user[order]
    start = min(float(events.time.min(initial=np.inf)), float(impressions.time.min(initial=np.inf)))
    end = max(float(events.until), float(impressions.time.max(initial=0.0)))
    seconds_per_user = end - start + 2.0
    event_keys = sorted_users * seconds_per_user + (events.time[order] - start)
    impression_keys = user_rows * seconds_per_user + (impressions.time - start)
    first_event = np.searchsorted(sorted_users, np.arange(len(events.users)))
    n_before = np.searchsorted(event_keys, impression_keys)
    event_rows = n_before[:, None] - 1 - np.arange(MAX_RECENT_EVENTS)
    is_own_event = event_rows >= first_event[np.maximum(user_rows, 0)][:, None]
    is_event = is_own_event & (user_rows >= 0)[:, None]
    recent = np.full((len(impressions), MAX_RECENT_EVENTS, category_levels.shape[1]), NO_EVENT, np.int32)
    recent[is_event] = category_levels[events.item[order][event_rows[is_event]]]
    return recent
