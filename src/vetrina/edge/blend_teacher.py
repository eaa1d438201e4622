"""Teacher for distillation: scores of an opened bundle's blend over its most interacted items.

A student is trained on these scores alone; it knows neither the bundle's models nor its users.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats
from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.edge.distillation import TEACHER_TOP_K, TeacherScores
from vetrina.scenarios.recommend.online import Recommender, top_k

BLEND = "home"  # the blend that is distilled
MAX_REQUESTS = 300_000
_MIN_ITEMS = 20  # items with events, from which distillation makes sense
_MAX_SCORED_ITEMS = 4.0e9  # requests times items of the catalogue: an answer scores the whole catalogue
RequestT = TypeVar("RequestT")
ItemSequence = tuple[
    NDArray[np.integer], NDArray[np.float64]
]  # indices of the student's items and their times, oldest first


class BlendTeacher:
    """A loaded bundle that scores the student's items.

    ``catalogue_rows`` (m,) are the student's items in the catalogue, ``student_index`` (items,) the index of each item of the
    catalogue among them, -1 for the others, ``item_counts`` (m,) their events.
    """

    def __init__(self, folder: Path, max_items: int) -> None:
        """Loads a bundle; the student has its ``max_items`` most interacted items. Raises UnusableVariant if it has too few."""
        self.recommender = Recommender(folder)
        counts = self.recommender.item_counts
        items = top_k(np.where(counts > 0, counts, -np.inf), max_items)
        if len(items) < _MIN_ITEMS:
            raise UnusableVariant(f"fewer than {_MIN_ITEMS} of its products have interactions")
        self.catalogue_rows = items.astype(np.int32)
        self.student_index = np.full(len(counts), -1, np.int64)
        self.student_index[items] = np.arange(len(items))
        self._allowed = self.student_index >= 0
        self.item_counts = counts[items]

    @property
    def max_requests(self) -> int:
        """Number of requests that the teacher can score in reasonable time."""
        return int(min(MAX_REQUESTS, _MAX_SCORED_ITEMS / len(self.student_index)))

    def score_requests(
        self, requests: Sequence[RequestT], history: Callable[[RequestT], History], progress: Progress
    ) -> TeacherScores:
        """The teacher's best items of each request with their scores.

        Args:
            requests: n requests of any type.
            history: makes the history of a request; called for one request after the other, to need little memory.
            progress: gets one step.
        """
        k = min(TEACHER_TOP_K, len(self.catalogue_rows))
        items = np.zeros((len(requests), k), np.int32)
        top_scores = np.zeros((len(requests), k), np.float32)
        with progress.step("student: teacher scores", len(requests)) as step:
            for row, request in enumerate(requests):
                scores = self.score(history(request))
                items[row] = np.argpartition(-scores, k - 1)[:k]
                top_scores[row] = np.maximum(scores[items[row]], 0.0)
                step.advance()
        return TeacherScores(items, top_scores, not self.recommender.is_excluding_seen(BLEND))

    def score(self, history: History) -> Floats:
        """(m,) scores of the student's items for one history, -inf for items that the blend excludes."""
        allowed = self._allowed & self.recommender.allowed_items(BLEND, history)
        scores, _ = self.recommender.ranking_scores(history, BLEND, allowed)
        return scores[self.catalogue_rows]

    def to_history(self, sequence: ItemSequence) -> History:
        """The history of an anonymous visitor with these interactions only."""
        events = [(int(self.catalogue_rows[index]), float(time), 1.0) for index, time in zip(*sequence, strict=True)]
        return self.recommender.histories.history_of(None, events, self.recommender.histories.until)
