"""Ranker features of recommendation candidates: model scores, the user's interactions, product statistics.

Training and serving compute them with the same code.
"""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats, Ints
from vetrina.core.clock import DAY
from vetrina.core.protocols import History
from vetrina.features.item_statistics import STATISTIC_NAMES

HALF_LIVES_SECONDS = (3 * DAY, 14 * DAY, 45 * DAY)  # of the decayed counts of a user's interactions with an item
_HOUR = 3_600.0  # seconds
_NEVER_STEPS = 99.0  # for an item without interaction
_NO_GAP = -1.0  # for an item with fewer than two interactions
_MAX_GAPS = 10.0
_RECENT_ITEMS = 20  # last items that a candidate's category and brand are compared with
_N_ITEM_FEATURES = 8  # the first of _INTERACTION_FEATURES
_INTERACTION_FEATURES = (
    "own count",
    "steps since",
    "log hours since",
    "hours since by usual gap",
    *(f"count of {h / DAY:.0f} days" for h in HALF_LIVES_SECONDS),
    "long count",
    "share of its category",
    "share of its brand",
    "category of the last",
)
_CONTEXT_FEATURES = ("length", "share of distinct", "log events of the last", "log hours of history")


def feature_names(models: tuple[str, ...]) -> list[str]:
    """Names of the columns of ``ranker_features``, in their order."""
    return [
        *models,
        *(f"rank by {m}" for m in models),
        "blend",
        "rank by blend",
        *_INTERACTION_FEATURES,
        *STATISTIC_NAMES,
        *_CONTEXT_FEATURES,
    ]


def ranker_features(
    model_scores: Floats,
    blend: Floats,
    items: Ints,
    history: History,
    statistics: Floats,
    codes: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> Floats:
    """Features of the candidates of one user.

    Args:
        model_scores: (models, n) scores with a largest value of 1 over the catalogue.
        blend: (n,) weighted sum of the scores.
        items: (n,) candidates.
        history: the user's interactions.
        statistics: (items, STATISTIC_NAMES) of the catalogue.
        codes: category (items,) and brand (items,) of the catalogue.

    Returns:
        (n, columns) float32, see ``feature_names``.
    """
    n_models = len(model_scores)
    scores = np.concatenate([model_scores, blend[None]])
    order = np.argsort(-scores, axis=1, kind="stable")
    log_ranks = np.log1p(np.argsort(order, axis=1, kind="stable"))
    context = _context_features(history, statistics)
    columns = [
        model_scores,
        log_ranks[:n_models],
        scores[n_models:],
        log_ranks[n_models:],
        interaction_features(items, history),
        _category_overlap(items, history, codes),
        statistics[items].T,
        np.repeat(context[:, None], len(items), 1),
    ]
    return np.ascontiguousarray(np.concatenate(columns).T, dtype=np.float32)


def interaction_features(items: Ints, history: History) -> NDArray[np.float64]:
    """(8, n) the first eight of _INTERACTION_FEATURES: the user's interactions with each candidate itself.

    Count, steps and log hours since the last, hours since the last over the mean gap between two, counts decayed with each
    half-life, and the long-term count. ``items`` (n,) are the candidates.
    """
    features = np.zeros((_N_ITEM_FEATURES, len(items)))
    features[1] = _NEVER_STEPS
    features[2] = _NEVER_STEPS
    features[3] = _NO_GAP
    n_events = len(history.items)
    if not n_events or not len(items):
        return features

    # The candidate (its column) of each event in the history; events of other items are left out.
    order = np.argsort(items, kind="stable")
    sorted_items = items[order]
    at = np.minimum(np.searchsorted(sorted_items, history.items), len(items) - 1)
    is_candidate = sorted_items[at] == history.items
    column = order[at[is_candidate]]
    ages = np.maximum(history.now - history.times, 0.0)[is_candidate]
    steps = (n_events - 1 - np.arange(n_events))[is_candidate]

    count = np.bincount(column, minlength=len(items))
    features[0] = np.log1p(count)
    np.minimum.at(features[1], column, steps)
    newest_age = np.full(len(items), np.inf)
    oldest_age = np.zeros(len(items))
    np.minimum.at(newest_age, column, ages)
    np.maximum.at(oldest_age, column, ages)
    has_events = np.isfinite(newest_age)
    features[2, has_events] = np.log1p(newest_age[has_events] / _HOUR)
    is_repeated = count > 1
    mean_gap = (oldest_age[is_repeated] - newest_age[is_repeated]) / (count[is_repeated] - 1)
    features[3, is_repeated] = np.minimum(newest_age[is_repeated] / np.maximum(mean_gap, _HOUR), _MAX_GAPS)
    for row, half_life in enumerate(HALF_LIVES_SECONDS, start=4):
        features[row] = np.bincount(column, 2.0 ** (-ages / half_life), minlength=len(items))
    if len(history.counts_items):
        at = np.minimum(np.searchsorted(history.counts_items, items), len(history.counts_items) - 1)
        features[7] = np.where(history.counts_items[at] == items, history.counts[at], 0.0)
    return features


def _category_overlap(
    items: Ints, history: History, codes: tuple[NDArray[np.int32], NDArray[np.int32]]
) -> NDArray[np.float64]:
    """(3, n) shares of the last items with the candidate's category and brand; whether the very last has its category."""
    recent_items = history.items[-_RECENT_ITEMS:]
    if not len(recent_items):
        return np.zeros((3, len(items)))
    shares = [(code[items][:, None] == code[recent_items][None]).mean(1) for code in codes]
    category = codes[0]
    return np.stack([*shares, category[items] == category[recent_items[-1]]])


def _context_features(history: History, statistics: Floats) -> NDArray[np.float64]:
    """(_CONTEXT_FEATURES,) of the user, the same for all candidates."""
    items = history.items
    if not len(items):
        return np.zeros(len(_CONTEXT_FEATURES))
    hours = (history.now - float(history.times.min())) / _HOUR
    distinct_share = len(np.unique(items)) / len(items)
    log_events_of_last = float(statistics[items[-1], 0])
    return np.array([np.log1p(len(items)), distinct_share, log_events_of_last, np.log1p(max(hours, 0.0))])
