"""Impressions as rows to learn from: every user as they were before the stretch of time in which the ad was shown."""

import numpy as np

from vetrina.core.types import Impressions, Interactions, Ints
from vetrina.features import affinities
from vetrina.features.affinities import COLUMNS
from vetrina.scenarios.ads.features import RECENT, Situations

_STRETCHES, _NOTHING = 12, -2


def examples(shown: Impressions, events: Interactions, codes: Ints, prices: np.ndarray) -> Situations:
    """Of ``shown`` (n,); ``codes`` (items, levels) and ``prices`` (items,) of the catalogue."""
    first, rows = affinities.first_seen(events, len(codes)), np.zeros((len(shown), len(COLUMNS)), np.float32)
    user = rows_of(events.users, shown.users)[shown.user]
    for part in np.array_split(np.arange(len(shown)), _STRETCHES):
        if not len(part):
            continue
        known = affinities.build(events, codes, prices, first, float(shown.time[part[0]]))
        for item in np.unique(shown.item[part]).tolist():
            mine = part[(shown.item[part] == item) & (user[part] >= 0)]
            rows[mine] = known.features(codes[item], float(prices[item]), user[mine])
    return Situations.of(rows, codes[shown.item], _recent(shown, events, user, codes), shown.place)


def rows_of(known: np.ndarray, asked: np.ndarray) -> Ints:
    """The row of each asked pseudonym among ``known`` (sorted), -1 for one that is not there."""
    if not len(known):
        return np.full(len(asked), -1, np.int32)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[at] == asked, at, -1).astype(np.int32)


def _recent(shown: Impressions, events: Interactions, user: Ints, codes: Ints) -> Ints:
    """(n, RECENT, levels): kinds of what each user did last before each impression, newest first."""
    order = np.lexsort((events.time, events.user))
    begin = min(float(events.time.min(initial=np.inf)), float(shown.time.min(initial=np.inf)))
    span = max(float(events.until), float(shown.time.max(initial=0.0))) - begin + 2.0
    keys = events.user[order] * span + (events.time[order] - begin)
    starts = np.searchsorted(events.user[order], np.arange(len(events.users)))
    ends = np.searchsorted(keys, user * span + (shown.time - begin))
    at = ends[:, None] - 1 - np.arange(RECENT)
    there = (at >= starts[np.maximum(user, 0)][:, None]) & (user >= 0)[:, None]
    found = np.full((len(shown), RECENT, codes.shape[1]), _NOTHING, np.int32)
    found[there] = codes[events.item[order][at[there]]]
    return found
