"""Popularity: the same scores for every user."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats


class Popular:
    """One score a product, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._scores = np.load(folder / "scores.npy", mmap_mode="r")

    def score(self, history: History) -> Floats:
        """Scores (items,) float32 from 0 to 1; the history is not used."""
        return self._scores


def load(folder: Path) -> Popular:
    """Opens what ``train`` wrote."""
    return Popular(folder)
