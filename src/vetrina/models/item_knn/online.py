"""Item-kNN scores of the last items with exponential decay by position."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.bundle.sparse_rows.read import SparseRows
from vetrina.core.protocols import History
from vetrina.core.types import Floats

MAX_RECENT_ITEMS = 60  # products of a history


class ItemKnn:
    """The neighbours of each product, memory-mapped, and the decay of a product's weight by position."""

    def __init__(self, folder: Path) -> None:
        self._neighbours = SparseRows(folder)
        settings = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._position_decay = float(settings["fade"])

    def score(self, history: History) -> Floats:
        """Scores (items,) float32: sum over the last products, newest first, of fade ** position * sim[product, .]."""
        recent_items = history.items[::-1][:MAX_RECENT_ITEMS]
        weights = self._position_decay ** np.arange(len(recent_items))
        return self._neighbours.weighted_sum(recent_items, weights)


def load(folder: Path) -> ItemKnn:
    """Opens what ``train`` or ``compress`` wrote."""
    return ItemKnn(folder)
