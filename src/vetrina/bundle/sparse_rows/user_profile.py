"""Scores of a user profile (decayed item counts) by an item-to-item matrix."""

from pathlib import Path

import numpy as np

from vetrina.bundle.sparse_rows.read import Neighbours
from vetrina.core.protocols import History
from vetrina.core.types import Floats


class UserProfileScorer:
    """Scorer with an item-to-item matrix M, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = Neighbours(folder)

    def score(self, history: History) -> Floats:
        """Return scores (items,) float32: the sum over the user's items of log(1 + count) * M[item, .]."""
        return self._neighbours.weighted_sum(history.counts_items, np.log1p(history.counts))
