"""Events of a user in the finest category of the product that is known; of equals, whoever does most at all comes first."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats
from vetrina.features.affinities import COLUMNS

_CATEGORY_COUNT_COLUMNS = tuple(COLUMNS.index(f"{level}: count") for level in ("leaf", "category", "department"))
_EVENT_COUNT_COLUMN = COLUMNS.index("events")


class Affinity:
    """Knows nothing that the features do not say."""

    def score(self, features: Floats) -> Floats:
        """(users,) for ``features`` (users, affinities.COLUMNS)."""
        there = next((at for at in _CATEGORY_COUNT_COLUMNS if features[:, at].any()), None)
        active = features[:, _EVENT_COUNT_COLUMN] / max(float(features[:, _EVENT_COUNT_COLUMN].max(initial=0.0)), 1.0)
        counted = features[:, there] if there is not None else np.zeros(len(features), np.float32)
        return (counted + 1e-3 * active).astype(np.float32)


def load(folder: Path) -> Affinity:
    """There is nothing to read."""
    return Affinity()
