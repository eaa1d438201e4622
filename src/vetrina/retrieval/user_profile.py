"""Sums the neighbours of everything a user took, by how much."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.retrieval.neighbours import Neighbours


class UserProfileScorer:
    """Rows of an item-to-item matrix M, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = Neighbours(folder)

    def score(self, history: History) -> Floats:
        """(items,) float32: sum over products of log(1 + count) * M[product, .]."""
        return self._neighbours.weighted_sum(history.counts_items, np.log1p(history.counts))
