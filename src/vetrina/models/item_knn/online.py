"""Sums the neighbours of the last products, newer ones counting more."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.retrieval.neighbours import Neighbours

REASON = "goes with what you took last"
LAST, FADE = 60, 0.96


class ItemKnn:
    """The co-occurrences, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = Neighbours(folder)

    def score(self, history: History) -> Floats:
        """(items,) float32: sum over the last products of FADE ** age * sim[product, .]."""
        last = history.items[::-1][:LAST]
        return self._neighbours.sum(last, FADE ** np.arange(len(last)))


def open(folder: Path) -> ItemKnn:
    """Read what ``train`` wrote."""
    return ItemKnn(folder)
