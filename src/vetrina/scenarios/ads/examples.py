"""Impressions as rows to learn from: every user as they were before the stretch of time in which the ad was shown."""

import numpy as np

from vetrina.core.types import AdImpressions, Interactions, Ints
from vetrina.features import affinities
from vetrina.features.affinities import COLUMNS
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, ImpressionFeatures

_TIME_BLOCKS = 12
_NO_EVENT = -2


def training_examples(
    impressions: AdImpressions, events: Interactions, category_levels: Ints, prices: np.ndarray
) -> ImpressionFeatures:
    """Of ``shown`` (n,); ``codes`` (items, levels) and ``prices`` (items,) of the catalogue."""
    first = affinities.first_seen(events, len(category_levels))
    rows = np.zeros((len(impressions), len(COLUMNS)), np.float32)
    user = lookup_rows(events.users, impressions.users)[impressions.user]
    for part in np.array_split(np.arange(len(impressions)), _TIME_BLOCKS):
        if not len(part):
            continue
        known = affinities.build(events, category_levels, prices, first, float(impressions.time[part[0]]))
        for item in np.unique(impressions.item[part]).tolist():
            mine = part[(impressions.item[part] == item) & (user[part] >= 0)]
            rows[mine] = known.features_for_product(category_levels[item], float(prices[item]), user[mine])
    return ImpressionFeatures.build(
        rows,
        category_levels[impressions.item],
        _recent_category_levels(impressions, events, user, category_levels),
        impressions.position,
    )


def lookup_rows(sorted_ids: np.ndarray, ids: np.ndarray) -> Ints:
    """The row of each asked pseudonym among ``known`` (sorted), -1 for one that is not there."""
    if not len(sorted_ids):
        return np.full(len(ids), -1, np.int32)
    at = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == ids, at, -1).astype(np.int32)


def _recent_category_levels(
    impressions: AdImpressions, events: Interactions, user: Ints, category_levels: Ints
) -> Ints:
    """(n, RECENT, levels): kinds of what each user did last before each impression, newest first."""
    order = np.lexsort((events.time, events.user))
    begin = min(float(events.time.min(initial=np.inf)), float(impressions.time.min(initial=np.inf)))
    span = max(float(events.until), float(impressions.time.max(initial=0.0))) - begin + 2.0
    keys = events.user[order] * span + (events.time[order] - begin)
    starts = np.searchsorted(events.user[order], np.arange(len(events.users)))
    ends = np.searchsorted(keys, user * span + (impressions.time - begin))
    at = ends[:, None] - 1 - np.arange(MAX_RECENT_EVENTS)
    there = (at >= starts[np.maximum(user, 0)][:, None]) & (user >= 0)[:, None]
    found = np.full((len(impressions), MAX_RECENT_EVENTS, category_levels.shape[1]), _NO_EVENT, np.int32)
    found[there] = category_levels[events.item[order][at[there]]]
    return found
