"""Similarity of items to a user's last items by fused multi-modal vectors."""

from pathlib import Path

import numpy as np

from vetrina.bundle.quantised_table.read import open_table
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints

MAX_RECENT_ITEMS = 5  # distinct products of a history
POSITION_DECAY = 0.85  # weight of an item relative to that of the one after it


class Fusion:
    """Item vectors (items, width): a quantised table, or float32 in ``vectors.npy``."""

    def __init__(self, folder: Path) -> None:
        self._table = open_table(folder, "vectors.npy")

    def __len__(self) -> int:
        return len(self._table)

    def vectors(self, items: Ints | slice = slice(None)) -> Floats:
        """Vectors (n, width) float32 of products (n,), or of all."""
        return self._table.vectors(items)

    def score(self, history: History) -> Floats:
        """Scores (items,) float32 from 0 to 1: the largest decayed similarity to one of the last products."""
        query_vectors = self._query_vectors(history)
        if not len(query_vectors):
            return np.zeros(len(self), np.float32)
        similarities = self._table.inner_products(query_vectors)
        return np.maximum(similarities.max(axis=0), 0.0)

    def score_items(self, history: History, items: Ints) -> Floats:
        """The scores (n,) of some products (n,), computed from their rows alone."""
        query_vectors = self._query_vectors(history)
        if not len(query_vectors):
            return np.zeros(len(items), np.float32)
        similarities = self.vectors(items) @ query_vectors.T
        return np.maximum(similarities.max(axis=1), 0.0)

    def _query_vectors(self, history: History) -> Floats:
        """Vectors (at most MAX_RECENT_ITEMS, width) of the last products, decayed by position."""
        recent_items = _recent_items(history)
        decay = np.power(POSITION_DECAY, np.arange(len(recent_items)), dtype=np.float32)
        return self.vectors(recent_items) * decay[:, None]


def _recent_items(history: History) -> Ints:
    """At most MAX_RECENT_ITEMS distinct products, the newest first."""
    newest_first = history.items[::-1].tolist()
    distinct = list(dict.fromkeys(newest_first))
    return np.array(distinct[:MAX_RECENT_ITEMS], np.int32)


def load(folder: Path) -> Fusion:
    """Opens what ``train`` wrote."""
    return Fusion(folder)
