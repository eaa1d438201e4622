"""A user's own decayed counts as scores."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "you take this often"


class Repeat:
    """Stateless: the history holds the counts."""

    def __init__(self, folder: Path) -> None:
        self._items = int(np.load(folder / "items.npy"))

    def score(self, history: History) -> Floats:
        """(items,) float32: decayed count, 0 for products the user never took."""
        scores = np.zeros(self._items, np.float32)
        scores[history.counts_items] = history.counts
        return scores


def open(folder: Path) -> Repeat:
    """Read what ``train`` wrote."""
    return Repeat(folder)
