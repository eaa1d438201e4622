"""Events of a user in the finest category of the product that is known; of equals, whoever does most at all comes first."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats
from vetrina.features.affinities import COLUMNS

_CATEGORIES = tuple(COLUMNS.index(f"{level}: count") for level in ("leaf", "category", "department"))
_EVENTS = COLUMNS.index("events")


class Affinity:
    """Knows nothing that the features do not say."""

    def score(self, features: Floats) -> Floats:
        """(users,) for ``features`` (users, affinities.COLUMNS)."""
        there = next((at for at in _CATEGORIES if features[:, at].any()), None)
        active = features[:, _EVENTS] / max(float(features[:, _EVENTS].max(initial=0.0)), 1.0)
        counted = features[:, there] if there is not None else np.zeros(len(features), np.float32)
        return (counted + 1e-3 * active).astype(np.float32)


def open(folder: Path) -> Affinity:
    """There is nothing to read."""
    return Affinity()
