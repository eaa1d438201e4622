"""Products near any of those that a user took last, by all that is known of them."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints
from vetrina.retrieval import packed_table

REASON = "like what you looked at"
MOST, FADE = 5, 0.85


class Fusion:
    """Vectors (items, width): a ``packed_table``, or float32 in ``vectors.npy``."""

    def __init__(self, folder: Path) -> None:
        self._table = packed_table.opened(folder, "vectors.npy")

    def __len__(self) -> int:
        return len(self._table)

    def vectors(self, items: Ints | slice = slice(None)) -> Floats:
        """(n, width) float32 of some products."""
        return self._table.vectors(items)

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 to 1: the largest likeness to one of the last products, those before the last faded."""
        asked = self._asked(history)
        if not len(asked):
            return np.zeros(len(self), np.float32)
        return np.maximum(self._table.products(asked).max(axis=0), 0.0)

    def score_of(self, history: History, items: Ints) -> Floats:
        """(n,) what ``score`` says of some products, told by their rows alone."""
        asked = self._asked(history)
        if not len(asked):
            return np.zeros(len(items), np.float32)
        return np.maximum((self.vectors(items) @ asked.T).max(axis=1), 0.0)

    def _asked(self, history: History) -> Floats:
        """(at most MOST, width): the last products, faded."""
        last = _last(history)
        return self.vectors(last) * np.power(FADE, np.arange(len(last)), dtype=np.float32)[:, None]


def _last(history: History) -> Ints:
    """At most MOST distinct products, the newest first."""
    return np.array(list(dict.fromkeys(history.items[::-1].tolist()))[:MOST], np.int32)


def open(folder: Path) -> Fusion:
    """Read what ``train`` wrote."""
    return Fusion(folder)
