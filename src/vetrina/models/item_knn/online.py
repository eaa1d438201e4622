"""Sums the neighbours of the last products, newer ones counting more."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.retrieval.neighbours import Neighbours

REASON = "goes with what you took last"
MAX_RECENT_ITEMS = 60  # products of a history


class ItemKnn:
    """The co-occurrences, memory-mapped; ``fade`` is what one step back in time costs a product."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = Neighbours(folder)
        self._position_decay = float(msgspec.json.decode((folder / "settings.json").read_bytes())["fade"])

    def score(self, history: History) -> Floats:
        """(items,) float32: sum over the last products of fade ** age * sim[product, .]."""
        last = history.items[::-1][:MAX_RECENT_ITEMS]
        return self._neighbours.weighted_sum(last, self._position_decay ** np.arange(len(last)))


def load(folder: Path) -> ItemKnn:
    """Read what ``train`` wrote."""
    return ItemKnn(folder)
