"""Finds the visits nearest to this one and sums what was taken in them."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import dictionary_encoding
from vetrina.core.elias_fano import EliasFanoLists
from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "visits that went like yours went on to this"
SESSION_GAP_SECONDS = 30 * 60.0
_MAX_RECENT_ITEMS = 20


class SessionKnn:
    """Visits and products in both directions, memory-mapped.

    near(visit) = worth * sum over the last products q in it of fade ** age_q * rarity_q; score = sum of near over the nearest.
    """

    def __init__(self, folder: Path) -> None:
        self._items_of_session = EliasFanoLists(folder, "visit_items")
        self._sessions_of_item = EliasFanoLists(folder, "item_visits")
        self._session_weights = np.load(folder / "worth.npy", mmap_mode="r")
        self._idf = dictionary_encoding.load(folder, "rarity")
        chosen = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._position_decay = float(chosen["fade"])
        self._neighbours = int(chosen["neighbours"])
        self._uses_whole_history = bool(chosen["whole"])

    def score(self, history: History) -> Floats:
        """(items,) float32, 0 for what was in none of the nearest visits."""
        asked = self._query_items(history)
        weight = self._position_decay ** np.arange(len(asked)) * self._idf[asked]
        visits = self._sessions_of_item.take(asked)
        weights = np.repeat(weight, visits.lengths)
        near = np.bincount(visits.values, weights, minlength=len(self._session_weights)) * self._session_weights
        found = np.flatnonzero(near)
        if len(found) > self._neighbours:
            found = found[np.argpartition(-near[found], self._neighbours)[: self._neighbours]]
        taken = self._items_of_session.take(found)
        weights = np.repeat(near[found], taken.lengths)
        return np.bincount(taken.values, weights, minlength=len(self._idf)).astype(np.float32)

    def _query_items(self, history: History) -> NDArray[np.int32]:
        """Distinct products of this visit, newest first."""
        items = history.items[-_MAX_RECENT_ITEMS:]
        if not self._uses_whole_history and len(items):
            apart = np.flatnonzero(np.diff(history.times[-_MAX_RECENT_ITEMS:]) > SESSION_GAP_SECONDS)
            items = items[int(apart[-1]) + 1 if len(apart) else 0 :]
        newest = items[::-1]
        _, first = np.unique(newest, return_index=True)
        return newest[np.sort(first)]


def load(folder: Path) -> SessionKnn:
    """Read what ``train`` wrote."""
    return SessionKnn(folder)
