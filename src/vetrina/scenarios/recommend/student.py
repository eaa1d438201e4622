"""A student of the blend that a bundle serves, for where the bundle cannot go. It knows the products of a shelf and no user.

It asks the bundle alone: the requests are what its users took last, cut anywhere, and every product of the shelf by itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import Unfit
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints, Plan
from vetrina.layers.sequence_student import TOP, Requests, SequenceStudent, Told, begin, teach
from vetrina.retrieval.next_item import gaps
from vetrina.scenarios.recommend.online import Recommend, best

LAST, BLEND = 20, "home"
_MOST, _LEAST, _HELD, _PASSES, _FEWEST, _OFTENEST, _K = 40_000, 20, 500, 1_200_000, 6, 40, 10
# Of products behind a history so many are recommended ones, drawn by their scores at this temperature, so many seconds later.
_FOLLOWS, _CURIOUS, _LATER = 0.7, 0.15, (60.0, 3_600.0, 86_400.0)
Asked = tuple[NDArray[np.integer], NDArray[np.float64]]  # products of the shelf and their times, oldest first
_NOTHING = 0.02  # of the lessons are about somebody of whom nothing is known


@dataclass(frozen=True)
class Taught:
    """The student, its shelf (rows of the bundle), and on ``held`` requests the share of the bundle's first ten that it gives,
    beside what is taken most."""

    student: SequenceStudent
    shelf: Ints
    held: Requests
    agreement: float
    popular: float


class Teacher:
    """An opened bundle that is asked about a shelf."""

    def __init__(self, folder: Path, most: int) -> None:
        self.opened = Recommend(folder)
        counts = self.opened.counts
        if counts is None:
            raise Unfit("it does not know what is taken how often; train again")
        shelf = best(np.where(counts > 0, counts, -np.inf), most)
        if len(shelf) < _LEAST:
            raise Unfit(f"fewer than {_LEAST} of its products were ever taken")
        self.shelf, self._place = shelf.astype(np.int32), np.full(len(counts), -1, np.int64)
        self._place[shelf] = np.arange(len(shelf))
        self._allowed = self._place >= 0
        self.counts = counts[shelf]

    def histories(self, seed: int) -> list[Asked]:
        """Products of the shelf (rows of it) with their times, oldest first: of users, cut anywhere, at most _MOST."""
        histories, rng = self.opened.histories, np.random.default_rng(seed)
        found = []
        for user in histories.users(_MOST):
            known = histories.of(user, (), histories.until)
            there = self._place[known.items] >= 0
            items, times = self._place[known.items[there]], known.times[there]
            found += [(items[max(0, e - LAST) : e], times[max(0, e - LAST) : e]) for e in range(1, len(items) + 1)]
        chosen = rng.permutation(len(found))[:_MOST]
        return [found[i] for i in chosen]

    def told(self, asked: list[Asked], progress: Progress) -> Told:
        """What the bundle says of each history."""
        k = min(TOP, len(self.shelf))
        items, scores = np.zeros((len(asked), k), np.int32), np.zeros((len(asked), k), np.float32)
        with progress.step("student: what the blend says", len(asked)) as step:
            for row, (own, times) in enumerate(asked):
                said = self.said(own, times)
                items[row] = np.argpartition(-said, k - 1)[:k]
                scores[row] = np.maximum(said[items[row]], 0.0)
                step.advance()
        return Told(items, scores, not self.opened.leaves_out(BLEND))

    def said(self, own: NDArray[np.integer], times: NDArray[np.float64]) -> Floats:
        """(shelf,) of one history."""
        history = self._history(own, times)
        allowed = self._allowed & self.opened.may_show(BLEND, history)
        return self.opened.ranked(history, BLEND, allowed)[0][self.shelf]

    def _history(self, own: NDArray[np.integer], times: NDArray[np.float64]) -> History:
        events = [(int(self.shelf[i]), float(t), 1.0) for i, t in zip(own, times, strict=True)]
        return self.opened.histories.of(None, events, self.opened.histories.until)


def taught(folder: Path, most: int, width: int, plan: Plan, progress: Progress) -> Taught:
    """A student of ``width`` for the ``most`` taken products. Raises Unfit for a bundle that says too little."""
    teacher = Teacher(folder, most)
    asked = teacher.histories(plan.seed)
    held = asked[: min(_HELD, len(asked) // 10)]
    if not held:
        raise Unfit("it knows too few users to teach a student with")
    products = len(teacher.shelf)
    alone = [(np.array([i]), np.zeros(1)) for i in range(products)]
    nothing = [(np.empty(0, np.int64), np.empty(0))] * max(1, int(_NOTHING * len(asked)))
    known = asked[len(held) :]
    first = teacher.told(known, progress)
    lessons = [*known, *longer(known, first, products, plan.seed), *nothing, *alone]
    told, requests = first.before(teacher.told(lessons[len(known) :], progress)), requests_of(lessons)
    rows = np.arange(len(lessons) - products, len(lessons))
    student = SequenceStudent(*begin(told, products, width, rows), LAST)
    epochs = int(np.clip(_PASSES // len(lessons), _FEWEST, _OFTENEST))
    with progress.step("student: epochs", epochs) as step:
        teach(student, requests, told, epochs, plan, step.advance)
    return Taught(student, teacher.shelf, requests_of(held), *_agreement(student, teacher, held))


def longer(asked: list[Asked], told: Told, products: int, seed: int) -> list[Asked]:
    """The histories with one product behind, mostly one that is recommended there: what a device asks about is never a history
    that the bundle knows, but one that went on."""
    rng, found = np.random.default_rng(seed), []
    for (own, times), items, scores in zip(asked, told.items, told.scores, strict=True):
        weight = np.exp(scores.astype(np.float64) / max(float(scores.max()), 1e-9) / _CURIOUS)
        new = rng.choice(items, p=weight / weight.sum()) if rng.random() < _FOLLOWS else rng.integers(products)
        found.append((np.append(own[1 - LAST :], new), np.append(times[1 - LAST :], times[-1] + rng.choice(_LATER))))
    return found


def requests_of(asked: list[Asked]) -> Requests:
    """As the student is asked: the newest first."""
    items, apart = np.full((len(asked), LAST), -1, np.int64), np.zeros((len(asked), LAST), np.int64)
    for row, (own, times) in enumerate(asked):
        n = len(own)
        items[row, :n] = own[::-1]
        apart[row, :n] = gaps(times, np.arange(n) == 0)[::-1]
    return Requests(items, apart)


def _agreement(student: SequenceStudent, teacher: Teacher, held: list[Asked]) -> tuple[float, float]:
    import torch

    shares, dull = [], []
    requests = requests_of(held)
    with torch.no_grad():
        said = student(torch.from_numpy(requests.items), torch.from_numpy(requests.gaps)).numpy()
    for (own, times), row in zip(held, said, strict=True):
        wanted = teacher.said(own, times)
        out = ~np.isfinite(wanted)
        first = set(best(wanted, _K).tolist())
        for scores, into in ((row, shares), (teacher.counts, dull)):
            into.append(len(first & set(best(np.where(out, -np.inf, scores), _K).tolist())) / max(1, len(first)))
    return float(np.mean(shares)), float(np.mean(dull))
