"""Item statistics for rankers: popularity, trend, loyalty, price and age."""

from pathlib import Path

import numpy as np

from vetrina.bundle import dictionary_encoding
from vetrina.core.clock import DAY
from vetrina.core.types import Floats, TrainingData

STATISTIC_NAMES = ("log events", "log recent events", "trend", "loyalty", "log price", "age in days")
_RECENT_SHARE = 0.07  # of all events, the newest of which are recent
_SMOOTHING_COUNT = 5.0  # events and users that every item is given
_UNKNOWN = -1.0


def write(training_data: TrainingData, folder: Path) -> None:
    """Write statistics (items, STATISTIC_NAMES) float32, dictionary-encoded as ``values``; unknown prices and ages are -1.

    Raises:
        ValueError: The training data have no catalogue.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = training_data.catalogue
    events = training_data.interactions
    if catalogue is None:
        raise ValueError("item statistics need a catalogue")
    n_items = len(catalogue)
    statistics = np.zeros((n_items, len(STATISTIC_NAMES)), np.float32)
    until = 0.0
    if events is not None:
        until = events.until
    if events is not None and len(events):
        event_counts = np.bincount(events.item, minlength=n_items)
        is_recent = events.time >= np.quantile(events.time, 1.0 - _RECENT_SHARE)
        recent_counts = np.bincount(events.item[is_recent], minlength=n_items)
        pairs = np.unique(events.user.astype(np.int64) * n_items + events.item)
        user_counts = np.bincount(pairs % n_items, minlength=n_items)
        recent_share = (recent_counts + _SMOOTHING_COUNT * _RECENT_SHARE) / (event_counts + _SMOOTHING_COUNT)
        statistics[:, 0] = np.log1p(event_counts)
        statistics[:, 1] = np.log1p(recent_counts)
        statistics[:, 2] = recent_share / _RECENT_SHARE
        statistics[:, 3] = (event_counts + _SMOOTHING_COUNT) / (user_counts + _SMOOTHING_COUNT)
    log_prices = np.log1p(np.maximum(catalogue.prices, 0.0))
    ages = (until - catalogue.available_at) / DAY
    statistics[:, 4] = np.nan_to_num(log_prices, nan=_UNKNOWN)
    statistics[:, 5] = np.nan_to_num(ages, nan=_UNKNOWN)
    dictionary_encoding.save(folder, "values", statistics)


def read(folder: Path) -> Floats:
    """Return the statistics (items, STATISTIC_NAMES) that ``write`` wrote."""
    return dictionary_encoding.load(folder, "values")
