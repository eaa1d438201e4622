"""What a student that reads last products is taught with: histories cut anywhere, gone on or thinned, each product by itself.

A student learns the very histories that it is taught with by heart, so it takes many, each a few times.
"""

import numpy as np

from vetrina.core.progress import Progress
from vetrina.layers.distillation import Told
from vetrina.layers.sequence_student import Sequences
from vetrina.retrieval.next_item import gaps
from vetrina.scenarios.recommend.teacher import MOST, Taken, Teacher

LAST = 20
# Of a user's whole history so many go on; of the requests a third at most, and a sixth are histories of which a share is missing.
_GO_ON, _THINNED, _MISSING = 4, 6, 0.25
# Of products behind a history so many are recommended ones, drawn by their scores at this temperature, so many seconds later.
_FOLLOWS, _CURIOUS, _LATER = 0.7, 0.15, (60.0, 3_600.0, 86_400.0)
_NOTHING = 0.02  # of the lessons are about somebody of whom nothing is known


def histories(teacher: Teacher, seed: int) -> list[Taken]:
    """Whole histories of users in random order."""
    known, found = teacher.opened.histories, []
    for user in known.users(MOST):
        history = known.of(user, (), known.until)
        there = teacher.place[history.items] >= 0
        if there.any():
            found.append((teacher.place[history.items[there]], history.times[there]))
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def lessons(teacher: Teacher, users: list[Taken], last: int, seed: int, progress: Progress) -> tuple[Sequences, Told]:
    """Requests and what the teacher says of them; the last are about every product of the shelf alone.

    Whole histories first, since what goes on behind them follows what is recommended there; then histories cut anywhere, some
    with products missing, and nobody's.
    """
    rng, products = np.random.default_rng(seed), len(teacher.shelf)

    whole = [cut(user, len(user[0]), last) for user in users[: teacher.answers // 4]]
    first = teacher.told(whole, teacher.history, progress)
    more = min(_GO_ON, max(1, teacher.answers // 3 // len(whole)))
    asked = [one for turn in range(more) for one in longer(whole, first, products, seed + turn, last)]
    cuts = [(user, end) for user in users for end in range(1, len(user[0]))]
    chosen = rng.permutation(len(cuts))[: max(0, teacher.answers - len(asked) - len(whole))]
    short = [cut(user, end, last) for user, end in (cuts[i] for i in chosen)]
    asked += [thinned(one, rng) if at % _THINNED == 0 else one for at, one in enumerate(short)]
    asked += [(np.empty(0, np.int64), np.empty(0))] * max(1, int(_NOTHING * len(asked)))
    asked += [(np.array([i]), np.zeros(1)) for i in range(products)]
    return requests_of([*whole, *asked], last), first.before(teacher.told(asked, teacher.history, progress))


def cut(user: Taken, end: int, last: int) -> Taken:
    """The ``last`` of the first ``end``."""
    return user[0][max(0, end - last) : end], user[1][max(0, end - last) : end]


def thinned(asked: Taken, rng: np.random.Generator) -> Taken:
    """A history of which a share is missing, the newest product never."""
    keep = rng.random(len(asked[0])) >= _MISSING
    keep[-1:] = True
    return asked[0][keep], asked[1][keep]


def longer(asked: list[Taken], told: Told, products: int, seed: int, last: int = LAST) -> list[Taken]:
    """The histories with one product behind, mostly one that is recommended there: what a device asks about is never a history
    that the bundle knows, but one that went on."""
    rng, found = np.random.default_rng(seed), []
    for (own, times), items, scores in zip(asked, told.items, told.scores, strict=True):
        weight = np.exp(scores.astype(np.float64) / max(float(scores.max()), 1e-9) / _CURIOUS)
        new = rng.choice(items, p=weight / weight.sum()) if rng.random() < _FOLLOWS else rng.integers(products)
        found.append((np.append(own[1 - last :], new), np.append(times[1 - last :], times[-1] + rng.choice(_LATER))))
    return found


def requests_of(asked: list[Taken], last: int = LAST) -> Sequences:
    """As the student is asked: the newest first."""
    items, apart = np.full((len(asked), last), -1, np.int64), np.zeros((len(asked), last), np.int64)
    for row, (own, times) in enumerate(asked):
        n = len(own)
        items[row, :n] = own[::-1]
        apart[row, :n] = gaps(times, np.arange(n) == 0)[::-1]
    return Sequences(items, apart)
