"""Distillation data for the repeat-consumption student: purchase counts and recency, now and at earlier moments.

The student reads features of the items that a user has interacted with. Its training requests are users as they are and as they
were a few events ago; the teacher scores the same histories.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Ints
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.edge.blend_teacher import BlendTeacher
from vetrina.edge.distillation import TeacherScores
from vetrina.edge.repeat_student import RepeatRequests
from vetrina.features.histories import DECAYED_COUNTS, Histories
from vetrina.scenarios.recommend.features import interaction_features

MAX_ITEMS = 100  # items of a user that a device sends
_MAX_UNDONE_SHARE = 0.6  # of a user's events that are undone at most
_NEW_USER_SHARE = 0.2  # of the requests that are made as of a new user
_MAX_POINTS_PER_USER = 20
_MAX_NEW_USER_EVENTS = 40
_MEAN_NEW_USER_DELAY_SECONDS = 600.0  # between the last event of a new user and the request
_EMPTY_HISTORY_SHARE = 0.02  # of the requests that are made without any history
_MIN_COUNT = 1e-6  # a decayed count below this is none
_NEVER_LOG_STEPS = 6.0  # for an item without interaction
_NEVER_LOG_HOURS = 9.0
_NO_EVENTS_HOURS = 9_600.0
_HOUR = 3_600.0  # seconds


@dataclass(frozen=True)
class HistoryPoint:
    """A user's history at an earlier moment: without the last ``events_undone`` events, requested at ``now``.

    With ``events_kept`` above 0 it is that of a new user whose last so many events are all there is; with 0 it is as the bundle
    has it.
    """

    user: str
    events_undone: int
    events_kept: int
    now: float


def sample_history_points(histories: Histories, users: list[str], max_points: int, seed: int) -> list[HistoryPoint]:
    """The present point of all users, and random earlier ones.

    Args:
        histories: of the bundle.
        users: pseudonyms.
        max_points: at most so many in all.
        seed: of the random points.
    """
    rng = np.random.default_rng(seed)
    points = [HistoryPoint(user, 0, 0, histories.until) for user in users]
    times_by_user = [histories.history_of(user, (), histories.until).times for user in users]
    idle_seconds = np.array([histories.until - times[-1] for times in times_by_user if len(times)])
    n_earlier = 0
    if len(idle_seconds):
        n_earlier = max(0, min(max_points, _MAX_POINTS_PER_USER * len(users)) - len(points))
    for index in rng.integers(0, len(users), n_earlier):
        times = times_by_user[index]
        n_events = len(times)
        if not n_events:
            continue
        n_undone = int(rng.integers(0, max(1, int(_MAX_UNDONE_SHARE * n_events))))
        n_kept = 0
        if rng.random() < _NEW_USER_SHARE:
            n_kept = int(rng.integers(1, min(_MAX_NEW_USER_EVENTS, n_events - n_undone) + 1))
        delay = rng.exponential(_MEAN_NEW_USER_DELAY_SECONDS) if n_kept else rng.choice(idle_seconds)
        last_event_time = times[n_events - n_undone - 1]
        points.append(HistoryPoint(users[index], n_undone, n_kept, float(last_event_time + delay)))
    return points


def history_at(histories: Histories, point: HistoryPoint) -> History:
    """The history at a point. An undone event is subtracted from the decayed counts as one event of weight 1."""
    present = histories.history_of(point.user, (), histories.until)
    end = len(present.items) - point.events_undone
    items = present.items[:end]
    times = present.times[:end]
    if point.events_kept:
        kept_items = items[-point.events_kept :].tolist()
        kept_times = times[-point.events_kept :].tolist()
        events = [(item, time, 1.0) for item, time in zip(kept_items, kept_times, strict=True)]
        return histories.history_of(None, events, point.now)
    half_life = DECAYED_COUNTS.half_life
    counts = present.counts.copy()
    undone = np.searchsorted(present.counts_items, present.items[end:])
    undone_ages = histories.until - present.times[end:]
    np.subtract.at(counts, undone, 2.0 ** (-undone_ages / half_life))
    has_count = (counts > _MIN_COUNT) | np.isin(present.counts_items, items)
    growth = 2.0 ** (-(point.now - histories.until) / half_life)  # counts at an earlier moment are less decayed
    counts_then = np.maximum(counts[has_count], _MIN_COUNT) * growth
    return History(items, times, present.counts_items[has_count], counts_then, point.now)


def distillation_data(
    teacher: BlendTeacher, users: list[str], max_items: int, seed: int, progress: Progress
) -> tuple[RepeatRequests, TeacherScores]:
    """Inputs of the student, and the teacher's scores for the same requests.

    Args:
        teacher: a loaded bundle.
        users: pseudonyms of the users to train on.
        max_items: items of a user that the student reads.
        seed: of the random points.
        progress: gets one step.
    """
    histories = teacher.recommender.histories
    points: list[HistoryPoint | None] = list(sample_history_points(histories, users, teacher.max_requests, seed))
    points += [None] * max(1, int(_EMPTY_HISTORY_SHARE * len(points)))

    def to_history(point: HistoryPoint | None) -> History:
        if point is None:
            return histories.history_of(None, (), histories.until)
        return history_at(histories, point)

    features = [repeat_consumption_features(to_history(point)) for point in points]
    requests = student_inputs(features, teacher.student_index, max_items)
    return requests, teacher.score_requests(points, to_history, progress)


def repeat_consumption_features(history: History) -> tuple[Ints, NDArray[np.float32]]:
    """Items (n,) of the catalogue that the user has interacted with, and their features (n, columns).

    Shares of the largest long-term and recent count first, features of the user, the same for all items, last.
    """
    items = history.counts_items
    count, steps, log_hours, gap_ratio, *recent_counts, long_count = interaction_features(items, history)
    is_never = count == 0
    recent_count = recent_counts[1]
    item_columns = [
        _share_of_largest(long_count),
        _share_of_largest(recent_count),
        _log_rank(long_count),
        _log_rank(recent_count),
        count,
        np.where(is_never, _NEVER_LOG_STEPS, np.log1p(steps)),
        np.where(is_never, _NEVER_LOG_HOURS, log_hours),
        is_never,
        gap_ratio,
        *np.log1p(recent_counts),
        np.log1p(long_count),
    ]
    n_events = len(history.items)
    hours = np.maximum(history.now - history.times, 0.0) / _HOUR
    newest_hours = float(hours.min(initial=_NO_EVENTS_HOURS))
    oldest_hours = float(hours.max(initial=0.0))
    distinct_share = len(np.unique(history.items)) / max(n_events, 1)
    user_columns = [*np.log1p([n_events, newest_hours, oldest_hours, len(items)]), distinct_share]
    features = np.concatenate([np.stack(item_columns, 1), np.tile(user_columns, (len(items), 1))], 1)
    return items, features.astype(np.float32)


def _share_of_largest(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counts / max(float(counts.max(initial=0.0)), _MIN_COUNT)


def _log_rank(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of 1 plus the rank from 0, largest count first."""
    order = np.argsort(-counts, kind="stable")
    return np.log1p(np.argsort(order, kind="stable"))


def student_inputs(
    features: list[tuple[Ints, NDArray[np.float32]]], student_index: NDArray[np.int64], max_items: int
) -> RepeatRequests:
    """Inputs of the student: of each user the items that the student knows.

    Args:
        features: of each user what ``repeat_consumption_features`` returns.
        student_index: (items,) index of each item of the catalogue among the student's, -1 for the others.
        max_items: at most so many items of a user, those with the largest long-term and recent counts.
    """
    n_columns = features[0][1].shape[1]
    items = np.full((len(features), max_items), -1, np.int64)
    item_features = np.zeros((len(features), max_items, n_columns), np.float16)
    for row, (own_items, own_features) in enumerate(features):
        selected = np.flatnonzero(student_index[own_items] >= 0)
        if len(selected) > max_items:
            importance = own_features[selected, 0] + own_features[selected, 1]
            most_important = np.argsort(-importance, kind="stable")[:max_items]
            selected = np.sort(selected[most_important])
        items[row, : len(selected)] = student_index[own_items[selected]]
        item_features[row, : len(selected)] = own_features[selected]
    return RepeatRequests(items, item_features)
