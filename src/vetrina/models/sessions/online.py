"""Session-kNN scores: items of the most similar past sessions."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import dictionary_encoding
from vetrina.bundle.elias_fano import EliasFanoLists
from vetrina.core.protocols import History
from vetrina.core.types import Floats

SESSION_GAP_SECONDS = 30 * 60.0  # without an event, after which a new session begins
_MAX_RECENT_ITEMS = 20


class SessionKnn:
    """Items by session and sessions by item, memory-mapped.

    similarity(session) = weight * sum over the last items q in it of fade ** position_q * idf_q; the score of an item
    is the sum of the similarities of the nearest sessions that contain it.
    """

    def __init__(self, folder: Path) -> None:
        self._items_of_session = EliasFanoLists(folder, "session_items")
        self._sessions_of_item = EliasFanoLists(folder, "item_sessions")
        self._session_weights = np.load(folder / "session_weights.npy", mmap_mode="r")
        self._idf = dictionary_encoding.load(folder, "idf")
        settings = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._position_decay = float(settings["fade"])
        self._n_neighbours = int(settings["neighbours"])
        self._uses_whole_history = bool(settings["whole"])

    def score(self, history: History) -> Floats:
        """Scores (items,) float32, 0 for items in none of the nearest sessions."""
        query_items = self._query_items(history)
        item_weights = self._position_decay ** np.arange(len(query_items)) * self._idf[query_items]
        sessions = self._sessions_of_item.take(query_items)
        weights = np.repeat(item_weights, sessions.lengths)
        n_sessions = len(self._session_weights)
        similarity = np.bincount(sessions.values, weights, minlength=n_sessions) * self._session_weights
        neighbours = np.flatnonzero(similarity)
        if len(neighbours) > self._n_neighbours:
            order = np.argpartition(-similarity[neighbours], self._n_neighbours)
            neighbours = neighbours[order[: self._n_neighbours]]
        items = self._items_of_session.take(neighbours)
        weights = np.repeat(similarity[neighbours], items.lengths)
        return np.bincount(items.values, weights, minlength=len(self._idf)).astype(np.float32)

    def _query_items(self, history: History) -> NDArray[np.int32]:
        """Distinct items of the current session, the newest first."""
        items = history.items[-_MAX_RECENT_ITEMS:]
        if not self._uses_whole_history and len(items):
            gaps = np.diff(history.times[-_MAX_RECENT_ITEMS:])
            session_ends = np.flatnonzero(gaps > SESSION_GAP_SECONDS)
            if len(session_ends):
                items = items[int(session_ends[-1]) + 1 :]
        newest_first = items[::-1]
        _, first_positions = np.unique(newest_first, return_index=True)
        return newest_first[np.sort(first_positions)]


def load(folder: Path) -> SessionKnn:
    """Opens what ``train`` wrote."""
    return SessionKnn(folder)
