"""Sums the neighbours of the last products, newer ones counting more."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.retrieval.neighbours import Neighbours

REASON = "goes with what you took last"
LAST = 60  # products of a history


class ItemKnn:
    """The co-occurrences, memory-mapped; ``fade`` is what one step back in time costs a product."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = Neighbours(folder)
        self._fade = float(msgspec.json.decode((folder / "settings.json").read_bytes())["fade"])

    def score(self, history: History) -> Floats:
        """(items,) float32: sum over the last products of fade ** age * sim[product, .]."""
        last = history.items[::-1][:LAST]
        return self._neighbours.sum(last, self._fade ** np.arange(len(last)))


def open(folder: Path) -> ItemKnn:
    """Read what ``train`` wrote."""
    return ItemKnn(folder)
