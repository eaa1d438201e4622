"""Users ranked by their events in the product's finest known category, ties by overall activity."""

from pathlib import Path

import numpy as np

from vetrina.core.arrays import Floats
from vetrina.features.affinities import COLUMNS

# From the finest to the coarsest category level.
_CATEGORY_COUNT_COLUMNS = (
    COLUMNS.index("leaf: count"),
    COLUMNS.index("category: count"),
    COLUMNS.index("department: count"),
)
_EVENT_COUNT_COLUMN = COLUMNS.index("events")
_ACTIVITY_WEIGHT = 1e-3  # less than one event in the category


class Affinity:
    """Stateless: the features hold the counts."""

    def score(self, features: Floats) -> Floats:
        """Scores (users,) for features (users, affinities.COLUMNS) of one product."""
        event_counts = features[:, _EVENT_COUNT_COLUMN]
        activity = event_counts / max(float(event_counts.max(initial=0.0)), 1.0)
        return (_category_counts(features) + _ACTIVITY_WEIGHT * activity).astype(np.float32)


def _category_counts(features: Floats) -> Floats:
    """Events (users,) in the finest category in which anyone has one, zeros if there is none."""
    for column in _CATEGORY_COUNT_COLUMNS:
        if features[:, column].any():
            return features[:, column]
    return np.zeros(len(features), np.float32)


def load(folder: Path) -> Affinity:
    """The model; there is nothing to read."""
    return Affinity()
