"""Repeat purchase: a user's decayed counts times the item's loyalty."""

from pathlib import Path

import numpy as np

from vetrina.bundle import dictionary_encoding
from vetrina.core.protocols import History
from vetrina.core.types import Floats


class Repeat:
    """The loyalty of each product; the decayed counts come with the history."""

    def __init__(self, folder: Path) -> None:
        self._loyalty = dictionary_encoding.load(folder, "loyalty")

    def score(self, history: History) -> Floats:
        """Scores (items,) float32: decayed count times loyalty, 0 for products that the user never took."""
        scores = np.zeros(len(self._loyalty), np.float32)
        items = history.counts_items
        scores[items] = history.counts * self._loyalty[items]
        return scores


def load(folder: Path) -> Repeat:
    """Opens what ``train`` wrote."""
    return Repeat(folder)
