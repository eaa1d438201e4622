"""What the whole shop did with each product, for rankers."""

from pathlib import Path

import numpy as np

from vetrina.core import dictionary_encoding
from vetrina.core.clock import DAY
from vetrina.core.types import Floats, TrainingData

STATISTIC_NAMES = ("log events", "log recent events", "trend", "loyalty", "log price", "age in days")
_RECENT_SHARE = 0.07
_SMOOTHING_COUNT = 5.0


def write(training_data: TrainingData, folder: Path) -> None:
    """(items, len(NAMES)) float32; unknown numbers are -1. Recent is the newest share of all events."""
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = training_data.catalogue
    events = training_data.interactions
    if catalogue is None:
        raise ValueError("statistics of products need a catalogue")
    items = len(catalogue)
    found = np.zeros((items, len(STATISTIC_NAMES)), np.float32)
    if events is not None and len(events):
        counts = np.bincount(events.item, minlength=items)
        newest = events.time >= np.quantile(events.time, 1.0 - _RECENT_SHARE)
        recent = np.bincount(events.item[newest], minlength=items)
        users = np.bincount(np.unique(events.user.astype(np.int64) * items + events.item) % items, minlength=items)
        found[:, 0], found[:, 1] = np.log1p(counts), np.log1p(recent)
        found[:, 2] = (recent + _SMOOTHING_COUNT * _RECENT_SHARE) / (counts + _SMOOTHING_COUNT) / _RECENT_SHARE
        found[:, 3] = (counts + _SMOOTHING_COUNT) / (users + _SMOOTHING_COUNT)
    until = events.until if events is not None else 0.0
    found[:, 4] = np.nan_to_num(np.log1p(np.maximum(catalogue.prices, 0.0)), nan=-1.0)
    found[:, 5] = np.nan_to_num((until - catalogue.available_at) / DAY, nan=-1.0)
    dictionary_encoding.save(folder, "values", found)


def read(folder: Path) -> Floats:
    """What ``write`` wrote."""
    return dictionary_encoding.load(folder, "values")
