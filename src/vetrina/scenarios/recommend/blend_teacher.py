"""An opened bundle that a student learns from: what it says of histories, on a shelf of the products that are taken most."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.layers.distillation import TEACHER_TOP_K, TeacherScores
from vetrina.scenarios.recommend.online import Recommender, top_k

# requests at most
BLEND = "home"
MAX_REQUESTS = 300_000
# an answer looks at every product of the catalogue, so that many are looked at in all
_MIN_ITEMS = 20
_MAX_SCORED_ITEMS = 4.0e9
RequestT = TypeVar("RequestT")
ItemSequence = tuple[NDArray[np.integer], NDArray[np.float64]]  # products of the shelf and their times, oldest first


class BlendTeacher:
    """Products are numbers on the shelf, which holds at most ``most``. Raises Unfit for a bundle that knows too little."""

    def __init__(self, folder: Path, max_items: int) -> None:
        self.recommender = Recommender(folder)
        counts = self.recommender.item_counts
        shelf = top_k(np.where(counts > 0, counts, -np.inf), max_items)
        if len(shelf) < _MIN_ITEMS:
            raise UnusableVariant(f"fewer than {_MIN_ITEMS} of its products were ever taken")
        self.catalogue_rows = shelf.astype(np.int32)
        self.student_index = np.full(len(counts), -1, np.int64)
        self.student_index[shelf] = np.arange(len(shelf))
        self._allowed = self.student_index >= 0
        self.item_counts = counts[shelf]

    @property
    def max_requests(self) -> int:
        """How many requests it can be asked in reasonable time."""
        return int(min(MAX_REQUESTS, _MAX_SCORED_ITEMS / len(self.student_index)))

    def score_requests(
        self, requests: Sequence[RequestT], history: Callable[[RequestT], History], progress: Progress
    ) -> TeacherScores:
        """What the bundle says of each, whose ``history`` is made when its turn has come."""
        k = min(TEACHER_TOP_K, len(self.catalogue_rows))
        items = np.zeros((len(requests), k), np.int32)
        scores = np.zeros((len(requests), k), np.float32)
        with progress.step("student: what the blend says", len(requests)) as step:
            for row, one in enumerate(requests):
                said = self.score(history(one))
                items[row] = np.argpartition(-said, k - 1)[:k]
                scores[row] = np.maximum(said[items[row]], 0.0)
                step.advance()
        return TeacherScores(items, scores, not self.recommender.is_excluding_seen(BLEND))

    def score(self, history: History) -> Floats:
        """(shelf,) of one history."""
        allowed = self._allowed & self.recommender.allowed_items(BLEND, history)
        return self.recommender.ranking_scores(history, BLEND, allowed)[0][self.catalogue_rows]

    def to_history(self, sequence: ItemSequence) -> History:
        """Of somebody who took nothing else."""
        events = [(int(self.catalogue_rows[i]), float(t), 1.0) for i, t in zip(*sequence, strict=True)]
        return self.recommender.histories.history_of(None, events, self.recommender.histories.until)
