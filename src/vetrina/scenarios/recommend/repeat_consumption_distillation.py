"""What a student that reads habits is taught with: how often and how lately users took what, now and at earlier moments."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Ints
from vetrina.features.histories import DECAYED_COUNTS, Histories
from vetrina.layers.distillation import TeacherScores
from vetrina.layers.repeat_student import RepeatRequests
from vetrina.scenarios.recommend.blend_teacher import BlendTeacher
from vetrina.scenarios.recommend.features import interaction_features

MAX_ITEMS = 100  # products that a device looks at
_MAX_UNDONE_SHARE, _NEW_USER_SHARE, _MAX_POINTS_PER_USER = (
    0.6,
    0.2,
    20,
)  # of the last events at most so many are undone; of the requests newcomers; moments a user
# events that a newcomer has at most, and mean seconds until they ask
_MAX_NEW_USER_EVENTS = 40
_MEAN_NEW_USER_DELAY_SECONDS = 600.0
_EMPTY_HISTORY_SHARE = 0.02
_MIN_COUNT = 1e-6
_NEVER_LOG_STEPS = 6.0
_NEVER_LOG_HOURS = 9.0
_NO_EVENTS_HOURS = 9_600.0  # hours


@dataclass(frozen=True)
class HistoryPoint:
    """A user as they were: ``back`` events ago, asked about at ``now``; ``alone``: as if their last so many events were all
    (0: as the bundle knows them)."""

    user: str
    events_undone: int
    events_kept: int
    now: float


def sample_history_points(histories: Histories, users: list[str], max_points: int, seed: int) -> list[HistoryPoint]:
    """All ``users`` as they are, and at random earlier moments, ``most`` in all."""
    rng = np.random.default_rng(seed)
    found = [HistoryPoint(user, 0, 0, histories.until) for user in users]
    times = [histories.history_of(user, (), histories.until).times for user in users]
    since = np.array([histories.until - t[-1] for t in times if len(t)])
    rest = max(0, min(max_points, _MAX_POINTS_PER_USER * len(users)) - len(found)) if len(since) else 0
    for at in rng.integers(0, len(users), rest):
        n = len(times[at])
        if not n:
            continue
        back = int(rng.integers(0, max(1, int(_MAX_UNDONE_SHARE * n))))
        alone = int(rng.integers(1, min(_MAX_NEW_USER_EVENTS, n - back) + 1)) if rng.random() < _NEW_USER_SHARE else 0
        later = rng.exponential(_MEAN_NEW_USER_DELAY_SECONDS) if alone else rng.choice(since)
        found.append(HistoryPoint(users[at], back, alone, float(times[at][n - back - 1] + later)))
    return found


def history_at(histories: Histories, point: HistoryPoint) -> History:
    """The history as it was. What is undone is taken from the counts as one event each."""
    whole = histories.history_of(point.user, (), histories.until)
    end = len(whole.items) - point.events_undone
    items = whole.items[:end]
    times = whole.times[:end]
    if point.events_kept:
        events = zip(items[-point.events_kept :].tolist(), times[-point.events_kept :].tolist(), strict=True)
        return histories.history_of(None, ((item, time, 1.0) for item, time in events), point.now)
    counts = whole.counts.copy()
    at = np.searchsorted(whole.counts_items, whole.items[end:])
    np.subtract.at(counts, at, 2.0 ** (-(histories.until - whole.times[end:]) / DECAYED_COUNTS.half_life))
    there = (counts > _MIN_COUNT) | np.isin(whole.counts_items, items)
    aged = np.maximum(counts[there], _MIN_COUNT) * 2.0 ** (-(point.now - histories.until) / DECAYED_COUNTS.half_life)
    return History(items, times, whole.counts_items[there], aged, point.now)


def distillation_data(
    teacher: BlendTeacher, users: list[str], max_items: int, seed: int, progress: Progress
) -> tuple[RepeatRequests, TeacherScores]:
    """Requests and what the teacher says of them."""
    known = teacher.recommender.histories
    asked: list[HistoryPoint | None] = list(sample_history_points(known, users, teacher.max_requests, seed))
    asked += [None] * max(1, int(_EMPTY_HISTORY_SHARE * len(asked)))

    def history(moment: HistoryPoint | None) -> History:
        return history_at(known, moment) if moment else known.history_of(None, (), known.until)

    requests = student_inputs(
        [repeat_consumption_features(history(one)) for one in asked], teacher.student_index, max_items
    )
    return requests, teacher.score_requests(asked, history, progress)


def repeat_consumption_features(history: History) -> tuple[Ints, NDArray[np.float32]]:
    """Products (n,) of the catalogue that were taken, and (n, facts) about each: shares of the largest long and short count
    first, what is the same for all products last."""
    items = history.counts_items
    count, steps, hours, gap, *lately, long = interaction_features(items, history)
    never = count == 0
    n = len(history.items)
    shares = [by / max(float(by.max(initial=0.0)), _MIN_COUNT) for by in (long, lately[1])]
    ranks = [np.log1p(np.argsort(np.argsort(-by, kind="stable"), kind="stable")) for by in (long, lately[1])]
    columns = [
        *shares,
        *ranks,
        count,
        np.where(never, _NEVER_LOG_STEPS, np.log1p(steps)),
        np.where(never, _NEVER_LOG_HOURS, hours),
    ]
    columns += [never, gap, *np.log1p(lately), np.log1p(long)]
    ages = np.maximum(history.now - history.times, 0.0) / 3_600.0
    about = [n, float(ages.min(initial=_NO_EVENTS_HOURS)), float(ages.max(initial=0.0)), len(items)]
    same = [*np.log1p(about), len(np.unique(history.items)) / max(n, 1)]
    rows = np.concatenate([np.stack(columns, 1), np.tile(same, (len(items), 1))], 1)
    return items, rows.astype(np.float32)


def student_inputs(
    features: list[tuple[Ints, NDArray[np.float32]]], student_index: NDArray[np.int64], max_items: int
) -> RepeatRequests:
    """As the student is asked: of products on the shelf the ``length`` that were taken most, by long and by short counts."""
    width = features[0][1].shape[1]
    items = np.full((len(features), max_items), -1, np.int64)
    known = np.zeros((len(features), max_items, width), np.float16)
    for row, (own_items, rows) in enumerate(features):
        there = np.flatnonzero(student_index[own_items] >= 0)
        if len(there) > max_items:
            worth = rows[there, 0] + rows[there, 1]
            there = np.sort(there[np.argsort(-worth, kind="stable")[:max_items]])
        items[row, : len(there)] = student_index[own_items[there]]
        known[row, : len(there)] = rows[there]
    return RepeatRequests(items, known)
