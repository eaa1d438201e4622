"""Precomputed scores from the users whom a user follows."""

from pathlib import Path

import numpy as np

from vetrina.bundle.sparse_rows.read import SparseRows
from vetrina.core.protocols import History
from vetrina.core.types import Floats


class Friends:
    """A row of scores for each follower, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._users = np.load(folder / "users.npy", mmap_mode="r")
        self._scores = SparseRows(folder)

    def score(self, history: History) -> Floats:
        """Scores (items,) float32, zeros for an anonymous user or one who follows nobody."""
        row = self._row(history.user)
        if row is None:
            return np.zeros(self._scores.n_columns, np.float32)
        return self._scores.weighted_sum(np.array([row]), np.ones(1))

    def _row(self, user: str | None) -> int | None:
        """The row of a follower, None for another user."""
        if user is None or not len(self._users):
            return None
        row = int(np.searchsorted(self._users, user))
        if row < len(self._users) and self._users[row] == user:
            return row
        return None


def load(folder: Path) -> Friends:
    """Opens what ``train`` or ``compress`` wrote."""
    return Friends(folder)
