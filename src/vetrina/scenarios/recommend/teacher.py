"""An opened bundle that a student learns from: what it says of histories, on a shelf of the products that are taken most."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import Unfit
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.layers.distillation import TOP, Told
from vetrina.scenarios.recommend.online import Recommend, best

BLEND, MOST = "home", 300_000  # requests at most
_LEAST, _LOOKED_AT = 20, 4.0e9  # an answer looks at every product of the catalogue, so that many are looked at in all
T = TypeVar("T")
Taken = tuple[NDArray[np.integer], NDArray[np.float64]]  # products of the shelf and their times, oldest first


class Teacher:
    """Products are numbers on the shelf, which holds at most ``most``. Raises Unfit for a bundle that knows too little."""

    def __init__(self, folder: Path, most: int) -> None:
        self.opened = Recommend(folder)
        counts = self.opened.counts
        shelf = best(np.where(counts > 0, counts, -np.inf), most)
        if len(shelf) < _LEAST:
            raise Unfit(f"fewer than {_LEAST} of its products were ever taken")
        self.shelf, self.place = shelf.astype(np.int32), np.full(len(counts), -1, np.int64)
        self.place[shelf] = np.arange(len(shelf))
        self._allowed = self.place >= 0
        self.counts = counts[shelf]

    @property
    def answers(self) -> int:
        """How many requests it can be asked in reasonable time."""
        return int(min(MOST, _LOOKED_AT / len(self.place)))

    def told(self, asked: Sequence[T], history: Callable[[T], History], progress: Progress) -> Told:
        """What the bundle says of each, whose ``history`` is made when its turn has come."""
        k = min(TOP, len(self.shelf))
        items, scores = np.zeros((len(asked), k), np.int32), np.zeros((len(asked), k), np.float32)
        with progress.step("student: what the blend says", len(asked)) as step:
            for row, one in enumerate(asked):
                said = self.said(history(one))
                items[row] = np.argpartition(-said, k - 1)[:k]
                scores[row] = np.maximum(said[items[row]], 0.0)
                step.advance()
        return Told(items, scores, not self.opened.leaves_out(BLEND))

    def said(self, history: History) -> Floats:
        """(shelf,) of one history."""
        allowed = self._allowed & self.opened.may_show(BLEND, history)
        return self.opened.ranked(history, BLEND, allowed)[0][self.shelf]

    def history(self, taken: Taken) -> History:
        """Of somebody who took nothing else."""
        events = [(int(self.shelf[i]), float(t), 1.0) for i, t in zip(*taken, strict=True)]
        return self.opened.histories.of(None, events, self.opened.histories.until)
