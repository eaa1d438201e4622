"""What the ranker sees of a candidate: the models' opinions, the shopper's own dealings with it, what the shop knows of it."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints
from vetrina.features.item_statistics import STATISTIC_NAMES as STATISTICS

HALF_LIVES_SECONDS = (3 * DAY, 14 * DAY, 45 * DAY)
_NEVER_STEPS = 99.0
_RECENT_ITEMS = 20
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
    """Of the columns, in their order."""
    return [
        *models,
        *(f"rank by {m}" for m in models),
        "blend",
        "rank by blend",
        *_INTERACTION_FEATURES,
        *STATISTICS,
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
    """(candidates, columns) float32.

    ``components`` (models, candidates) with a largest value of 1 over the catalogue, ``blend`` (candidates,), ``statistics``
    (items, len(STATISTICS)), ``codes`` of every product's category and brand.
    """
    opinions = np.concatenate([model_scores, blend[None]])
    ranks = np.log1p(np.argsort(np.argsort(-opinions, axis=1, kind="stable"), axis=1, kind="stable"))
    models = len(model_scores)
    columns = [
        model_scores,
        ranks[:models],
        opinions[models:],
        ranks[models:],
        interaction_features(items, history),
        _category_overlap(items, history, codes),
        statistics[items].T,
        np.repeat(_context_features(history, statistics)[:, None], len(items), 1),
    ]
    return np.ascontiguousarray(np.concatenate(columns).T, dtype=np.float32)


def interaction_features(items: Ints, history: History) -> NDArray[np.float64]:
    """(8, items): the first eight of _OWN, about the user's dealings with a product itself."""
    found = np.zeros((8, len(items)))
    found[1] = _NEVER_STEPS
    found[2] = _NEVER_STEPS
    found[3] = -1.0
    taken = history.items
    ages = np.maximum(history.now - history.times, 0.0)
    order = np.argsort(items, kind="stable")
    if not len(taken) or not len(items):
        return found
    at = np.minimum(np.searchsorted(items[order], taken), len(items) - 1)
    inside = items[order][at] == taken
    place = order[at[inside]]
    ages = ages[inside]
    steps = (len(taken) - 1 - np.arange(len(taken)))[inside]
    found[0] = np.log1p(np.bincount(place, minlength=len(items)))
    np.minimum.at(found[1], place, steps)
    newest = np.full(len(items), np.inf)
    oldest = np.zeros(len(items))
    np.minimum.at(newest, place, ages)
    np.maximum.at(oldest, place, ages)
    met = np.isfinite(newest)
    found[2, met] = np.log1p(newest[met] / 3_600.0)
    times = np.bincount(place, minlength=len(items))
    again = times > 1
    gap = (oldest[again] - newest[again]) / (times[again] - 1)
    found[3, again] = np.minimum(newest[again] / np.maximum(gap, 3_600.0), 10.0)
    for row, half_life in enumerate(HALF_LIVES_SECONDS, start=4):
        found[row] = np.bincount(place, 2.0 ** (-ages / half_life), minlength=len(items))
    if len(history.counts_items):
        at = np.minimum(np.searchsorted(history.counts_items, items), len(history.counts_items) - 1)
        found[7] = np.where(history.counts_items[at] == items, history.counts[at], 0.0)
    return found


def _category_overlap(
    items: Ints, history: History, codes: tuple[NDArray[np.int32], NDArray[np.int32]]
) -> NDArray[np.float64]:
    """Share of the last products with the same category and brand, and whether the very last one has its category."""
    last = history.items[-_RECENT_ITEMS:]
    if not len(last):
        return np.zeros((3, len(items)))
    shares = [(code[items][:, None] == code[last][None]).mean(1) for code in codes]
    return np.stack([*shares, codes[0][items] == codes[0][last[-1]]])


def _context_features(history: History, statistics: Floats) -> NDArray[np.float64]:
    taken = history.items
    if not len(taken):
        return np.zeros(len(_CONTEXT_FEATURES))
    hours = (history.now - float(history.times.min())) / 3_600.0
    distinct = len(np.unique(taken)) / len(taken)
    return np.array([np.log1p(len(taken)), distinct, float(statistics[taken[-1], 0]), np.log1p(max(hours, 0.0))])
