"""A student of the blend that a bundle serves, for where the bundle cannot go. It knows the products of a shelf and no user.

It asks the bundle alone: what its users took, cut anywhere, gone on or thinned, and every product of the shelf by itself. A
student learns the very histories that it is taught with by heart, so it takes many, each a few times.
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
_LEAST, _HELD, _PASSES, _FEWEST, _OFTENEST, _K = 20, 500, 1_500_000, 5, 40, 10
# An answer of the teacher looks at every product of its catalogue, so that many are looked at in all; requests at most.
_LOOKED_AT, _MOST = 4.0e9, 300_000
# Of a user's whole history so many go on; of the requests a third at most, and a sixth are histories of which a share is missing.
_GO_ON, _THINNED, _MISSING = 4, 6, 0.25
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
        """Whole histories of users in random order: products of the shelf (rows of it) with their times, oldest first."""
        known, found = self.opened.histories, []
        for user in known.users(_MOST):
            history = known.of(user, (), known.until)
            there = self._place[history.items] >= 0
            if there.any():
                found.append((self._place[history.items[there]], history.times[there]))
        return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]

    @property
    def answers(self) -> int:
        """How many requests it can be asked in reasonable time."""
        return int(min(_MOST, _LOOKED_AT / len(self._place)))

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


def taught(folder: Path, most: int, width: int, plan: Plan, progress: Progress, last: int = LAST) -> Taught:
    """A student of ``width`` for the ``most`` taken products that looks at the ``last`` ones of a user.

    Raises Unfit for a bundle that says too little.
    """
    teacher, rng = Teacher(folder, most), np.random.default_rng(plan.seed)
    users = teacher.histories(plan.seed)
    held = [_cut(user, int(rng.integers(len(user[0]))) + 1, last) for user in users[: min(_HELD, len(users) // 10)]]
    if not held:
        raise Unfit("it knows too few users to teach a student with")
    requests, told = _lessons(teacher, users[len(held) :], last, plan.seed, progress)
    products = len(teacher.shelf)
    rows = np.arange(len(requests) - products, len(requests))
    student = SequenceStudent(begin(told, products, width, rows), last)
    epochs = int(np.clip(_PASSES // len(requests), _FEWEST, _OFTENEST))
    with progress.step("student: epochs", epochs) as step:
        teach(student, requests, told, epochs, plan, step.advance)
    return Taught(student, teacher.shelf, requests_of(held, last), *_agreement(student, teacher, held, last))


def _lessons(teacher: Teacher, users: list[Asked], last: int, seed: int, progress: Progress) -> tuple[Requests, Told]:
    """Requests and what the teacher says of them; the last are about every product of the shelf alone.

    Whole histories first, since what goes on behind them follows what is recommended there; then histories cut anywhere, some
    with products missing, and nobody's.
    """
    rng, products = np.random.default_rng(seed), len(teacher.shelf)
    whole = [_cut(user, len(user[0]), last) for user in users[: teacher.answers // 4]]
    first = teacher.told(whole, progress)
    more = min(_GO_ON, max(1, teacher.answers // 3 // len(whole)))
    asked = [one for turn in range(more) for one in longer(whole, first, products, seed + turn, last)]
    cuts = [(user, end) for user in users for end in range(1, len(user[0]))]
    chosen = rng.permutation(len(cuts))[: max(0, teacher.answers - len(asked) - len(whole))]
    short = [_cut(user, end, last) for user, end in (cuts[i] for i in chosen)]
    asked += [thinned(one, rng) if at % _THINNED == 0 else one for at, one in enumerate(short)]
    asked += [(np.empty(0, np.int64), np.empty(0))] * max(1, int(_NOTHING * len(asked)))
    asked += [(np.array([i]), np.zeros(1)) for i in range(products)]
    return requests_of([*whole, *asked], last), first.before(teacher.told(asked, progress))


def _cut(user: Asked, end: int, last: int) -> Asked:
    """The ``last`` of the first ``end``."""
    return user[0][max(0, end - last) : end], user[1][max(0, end - last) : end]


def thinned(asked: Asked, rng: np.random.Generator) -> Asked:
    """A history of which a share is missing, the newest product never."""
    keep = rng.random(len(asked[0])) >= _MISSING
    keep[-1:] = True
    return asked[0][keep], asked[1][keep]


def longer(asked: list[Asked], told: Told, products: int, seed: int, last: int = LAST) -> list[Asked]:
    """The histories with one product behind, mostly one that is recommended there: what a device asks about is never a history
    that the bundle knows, but one that went on."""
    rng, found = np.random.default_rng(seed), []
    for (own, times), items, scores in zip(asked, told.items, told.scores, strict=True):
        weight = np.exp(scores.astype(np.float64) / max(float(scores.max()), 1e-9) / _CURIOUS)
        new = rng.choice(items, p=weight / weight.sum()) if rng.random() < _FOLLOWS else rng.integers(products)
        found.append((np.append(own[1 - last :], new), np.append(times[1 - last :], times[-1] + rng.choice(_LATER))))
    return found


def requests_of(asked: list[Asked], last: int = LAST) -> Requests:
    """As the student is asked: the newest first."""
    items, apart = np.full((len(asked), last), -1, np.int64), np.zeros((len(asked), last), np.int64)
    for row, (own, times) in enumerate(asked):
        n = len(own)
        items[row, :n] = own[::-1]
        apart[row, :n] = gaps(times, np.arange(n) == 0)[::-1]
    return Requests(items, apart)


def _agreement(student: SequenceStudent, teacher: Teacher, held: list[Asked], last: int) -> tuple[float, float]:
    import torch

    shares, dull = [], []
    requests = requests_of(held, last)
    with torch.no_grad():
        said = student(torch.from_numpy(requests.items), torch.from_numpy(requests.gaps)).numpy()
    for (own, times), row in zip(held, said, strict=True):
        wanted = teacher.said(own, times)
        out = ~np.isfinite(wanted)
        first = set(best(wanted, _K).tolist())
        for scores, into in ((row, shares), (teacher.counts, dull)):
            into.append(len(first & set(best(np.where(out, -np.inf, scores), _K).tolist())) / max(1, len(first)))
    return float(np.mean(shares)), float(np.mean(dull))
