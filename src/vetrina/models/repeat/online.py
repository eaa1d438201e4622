"""A user's own decayed counts, weighed by how often the product is taken again by anyone."""

from pathlib import Path

import numpy as np

from vetrina.core import dictionary_encoding
from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "you take this often"


class Repeat:
    """Holds one number a product; the counts come with the history."""

    def __init__(self, folder: Path) -> None:
        self._loyalty = dictionary_encoding.load(folder, "loyalty")

    def score(self, history: History) -> Floats:
        """(items,) float32: decayed count times loyalty, 0 for products the user never took."""
        scores = np.zeros(len(self._loyalty), np.float32)
        scores[history.counts_items] = history.counts * self._loyalty[history.counts_items]
        return scores


def load(folder: Path) -> Repeat:
    """Read what ``train`` wrote."""
    return Repeat(folder)
