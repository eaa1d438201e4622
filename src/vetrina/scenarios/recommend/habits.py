"""What a student that reads habits is taught with: how often and how lately users took what, now and at earlier moments."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Ints
from vetrina.features.histories import COUNTS, Histories
from vetrina.layers.distillation import Told
from vetrina.layers.habit_student import Habits
from vetrina.scenarios.recommend.features import own
from vetrina.scenarios.recommend.teacher import Teacher

LENGTH = 100  # products that a device looks at
_BACK, _SHORT, _OFTEN = (
    0.6,
    0.2,
    20,
)  # of the last events at most so many are undone; of the requests newcomers; moments a user
_NEWCOMER, _SOON = 40, 600.0  # events that a newcomer has at most, and mean seconds until they ask
_NOTHING, _LEAST = 0.02, 1e-6
_NEVER, _NEVER_HOURS = 6.0, 9.0
_NO_EVENTS = 9_600.0  # hours


@dataclass(frozen=True)
class Moment:
    """A user as they were: ``back`` events ago, asked about at ``now``; ``alone``: as if their last so many events were all
    (0: as the bundle knows them)."""

    user: str
    back: int
    alone: int
    now: float


def moments(known: Histories, users: list[str], most: int, seed: int) -> list[Moment]:
    """All ``users`` as they are, and at random earlier moments, ``most`` in all."""
    rng, found = np.random.default_rng(seed), [Moment(user, 0, 0, known.until) for user in users]
    times = [known.of(user, (), known.until).times for user in users]
    since = np.array([known.until - t[-1] for t in times if len(t)])
    rest = max(0, min(most, _OFTEN * len(users)) - len(found)) if len(since) else 0
    for at in rng.integers(0, len(users), rest):
        n = len(times[at])
        if not n:
            continue
        back = int(rng.integers(0, max(1, int(_BACK * n))))
        alone = int(rng.integers(1, min(_NEWCOMER, n - back) + 1)) if rng.random() < _SHORT else 0
        later = rng.exponential(_SOON) if alone else rng.choice(since)
        found.append(Moment(users[at], back, alone, float(times[at][n - back - 1] + later)))
    return found


def before(known: Histories, moment: Moment) -> History:
    """The history as it was. What is undone is taken from the counts as one event each."""
    whole = known.of(moment.user, (), known.until)
    end = len(whole.items) - moment.back
    items, times = whole.items[:end], whole.times[:end]
    if moment.alone:
        events = zip(items[-moment.alone :].tolist(), times[-moment.alone :].tolist(), strict=True)
        return known.of(None, ((item, time, 1.0) for item, time in events), moment.now)
    counts, at = whole.counts.copy(), np.searchsorted(whole.counts_items, whole.items[end:])
    np.subtract.at(counts, at, 2.0 ** (-(known.until - whole.times[end:]) / COUNTS.half_life))
    there = (counts > _LEAST) | np.isin(whole.counts_items, items)
    aged = np.maximum(counts[there], _LEAST) * 2.0 ** (-(moment.now - known.until) / COUNTS.half_life)
    return History(items, times, whole.counts_items[there], aged, moment.now)


def lessons(teacher: Teacher, users: list[str], length: int, seed: int, progress: Progress) -> tuple[Habits, Told]:
    """Requests and what the teacher says of them."""
    known = teacher.opened.histories
    asked: list[Moment | None] = list(moments(known, users, teacher.answers, seed))
    asked += [None] * max(1, int(_NOTHING * len(asked)))

    def history(moment: Moment | None) -> History:
        return before(known, moment) if moment else known.of(None, (), known.until)

    requests = requests_of([facts(history(one)) for one in asked], teacher.place, length)
    return requests, teacher.told(asked, history, progress)


def facts(history: History) -> tuple[Ints, NDArray[np.float32]]:
    """Products (n,) of the catalogue that were taken, and (n, facts) about each: shares of the largest long and short count
    first, what is the same for all products last."""
    items = history.counts_items
    count, steps, hours, gap, *lately, long = own(items, history)
    never, n = count == 0, len(history.items)
    shares = [by / max(float(by.max(initial=0.0)), _LEAST) for by in (long, lately[1])]
    ranks = [np.log1p(np.argsort(np.argsort(-by, kind="stable"), kind="stable")) for by in (long, lately[1])]
    columns = [*shares, *ranks, count, np.where(never, _NEVER, np.log1p(steps)), np.where(never, _NEVER_HOURS, hours)]
    columns += [never, gap, *np.log1p(lately), np.log1p(long)]
    ages = np.maximum(history.now - history.times, 0.0) / 3_600.0
    about = [n, float(ages.min(initial=_NO_EVENTS)), float(ages.max(initial=0.0)), len(items)]
    same = [*np.log1p(about), len(np.unique(history.items)) / max(n, 1)]
    rows = np.concatenate([np.stack(columns, 1), np.tile(same, (len(items), 1))], 1)
    return items, rows.astype(np.float32)


def requests_of(told: list[tuple[Ints, NDArray[np.float32]]], place: NDArray[np.int64], length: int) -> Habits:
    """As the student is asked: of products on the shelf the ``length`` that were taken most, by long and by short counts."""
    width = told[0][1].shape[1]
    items = np.full((len(told), length), -1, np.int64)
    known = np.zeros((len(told), length, width), np.float16)
    for row, (own_items, rows) in enumerate(told):
        there = np.flatnonzero(place[own_items] >= 0)
        if len(there) > length:
            worth = rows[there, 0] + rows[there, 1]
            there = np.sort(there[np.argsort(-worth, kind="stable")[:length]])
        items[row, : len(there)], known[row, : len(there)] = place[own_items[there]], rows[there]
    return Habits(items, known)
