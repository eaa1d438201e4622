"""Products near any of those that a user took last, by all that is known of them."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints
from vetrina.retrieval import quantised_table

REASON = "like what you looked at"
MAX_RECENT_ITEMS = 5
POSITION_DECAY = 0.85


class Fusion:
    """Vectors (items, width): a ``packed_table``, or float32 in ``vectors.npy``."""

    def __init__(self, folder: Path) -> None:
        self._table = quantised_table.open_table(folder, "vectors.npy")

    def __len__(self) -> int:
        return len(self._table)

    def vectors(self, items: Ints | slice = slice(None)) -> Floats:
        """(n, width) float32 of some products."""
        return self._table.vectors(items)

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 to 1: the largest likeness to one of the last products, those before the last faded."""
        asked = self._query_vectors(history)
        if not len(asked):
            return np.zeros(len(self), np.float32)
        return np.maximum(self._table.inner_products(asked).max(axis=0), 0.0)

    def score_items(self, history: History, items: Ints) -> Floats:
        """(n,) what ``score`` says of some products, told by their rows alone."""
        asked = self._query_vectors(history)
        if not len(asked):
            return np.zeros(len(items), np.float32)
        return np.maximum((self.vectors(items) @ asked.T).max(axis=1), 0.0)

    def _query_vectors(self, history: History) -> Floats:
        """(at most MOST, width): the last products, faded."""
        last = _recent_items(history)
        return self.vectors(last) * np.power(POSITION_DECAY, np.arange(len(last)), dtype=np.float32)[:, None]


def _recent_items(history: History) -> Ints:
    """At most MOST distinct products, the newest first."""
    return np.array(list(dict.fromkeys(history.items[::-1].tolist()))[:MAX_RECENT_ITEMS], np.int32)


def load(folder: Path) -> Fusion:
    """Read what ``train`` wrote."""
    return Fusion(folder)
