"""Evaluation units of recommend: known users, anonymous sessions, new visitors.

A unit is a history and the items that came next. Evaluation and tuning use the same units.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vetrina.core.arrays import Ints
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.protocols import History
from vetrina.features.histories import Histories
from vetrina.scenarios.recommend.online import SESSION_EVENT_WEIGHT


@dataclass(frozen=True)
class EvaluationUnit:
    """A history and what came next.

    ``items`` (n,) are the distinct targets in the catalogue, of ``n_relevant`` targets in all; ``is_known`` users have a history
    in the bundle.
    """

    name: str
    history: History
    items: Ints
    n_relevant: int
    is_known: bool


def user_units(
    histories: Histories, evaluation_data: EvaluationData, *, new_items_only: bool, max_users: int
) -> Iterator[EvaluationUnit]:
    """Each user at the start of the evaluation period, with all items of the period as targets.

    For a user whom the bundle does not know, the last event of the period is the target and the earlier ones are the history.

    Args:
        histories: of the bundle.
        evaluation_data: its targets and events are used.
        new_items_only: leave out targets that the user had interacted with before.
        max_users: at most so many users, evenly spread.
    """
    targets = evaluation_data.targets
    if targets is None:
        return
    event_rows = _event_rows_by_user(evaluation_data)
    for index in _evenly_spread_indices(len(targets.user_ids), max_users):
        user = targets.user_ids[index]
        items = targets.items[index]
        is_known = user in histories
        rows = event_rows.get(user, ())
        if not is_known and len(rows) > 1:
            for unit in _units_at_cuts(histories, evaluation_data, user, event_rows[user], [len(rows) - 1]):
                is_new = not np.isin(unit.items, unit.history.items).all()
                if is_new or not new_items_only:
                    yield unit
            continue
        history = histories.history_of(user, (), evaluation_data.now)
        if new_items_only:
            items = items[~np.isin(items, history.counts_items)]
        if len(items):
            yield EvaluationUnit(user, history, items[items >= 0], len(items), is_known)


def session_units(
    histories: Histories, evaluation_data: EvaluationData, *, max_per_user: int, max_sessions: int, seed: int = 42
) -> list[EvaluationUnit]:
    """Anonymous sessions: first events of a user in the evaluation period, with the next item as the target.

    Args:
        histories: of the bundle.
        evaluation_data: its events are used.
        max_per_user: at most so many sessions of one user, cut at random.
        max_sessions: at most so many sessions in all.
        seed: of the random order of users and cuts.
    """
    rng = np.random.default_rng(seed)
    users_with_rows = [(user, rows) for user, rows in _event_rows_by_user(evaluation_data).items() if len(rows) > 1]
    units: list[EvaluationUnit] = []
    for index in rng.permutation(len(users_with_rows)):
        user, rows = users_with_rows[index]
        cuts = rng.permutation(np.arange(1, len(rows)))[:max_per_user]
        units += _units_at_cuts(histories, evaluation_data, user, rows, sorted(cuts.tolist()))
        if len(units) >= max_sessions:
            break
    return units[:max_sessions]


def new_visitor_units(
    histories: Histories, evaluation_data: EvaluationData, *, max_visitors: int
) -> list[EvaluationUnit]:
    """Users without any history in the bundle, before their first event, with all items of the period as targets.

    Args:
        histories: of the bundle.
        evaluation_data: its targets and events are used.
        max_visitors: at most so many users, evenly spread.
    """
    targets = evaluation_data.targets
    event_rows = _event_rows_by_user(evaluation_data)
    if targets is None or evaluation_data.events is None:
        return []
    new_visitors = []
    for index, user in enumerate(targets.user_ids):
        if user not in histories and user in event_rows:
            new_visitors.append(index)
    units: list[EvaluationUnit] = []
    for position in _evenly_spread_indices(len(new_visitors), max_visitors):
        index = new_visitors[position]
        user = targets.user_ids[index]
        items = targets.items[index]
        first_event_time = float(evaluation_data.events.time[event_rows[user][0]])
        history = histories.history_of(user, (), first_event_time)
        units.append(EvaluationUnit(user, history, items[items >= 0], len(items), False))
    return units


def _evenly_spread_indices(count: int, max_count: int) -> list[int]:
    """All indices below ``count``, or ``max_count`` of them, evenly spread.

    User ids may be ordered by the time of the first visit, so the first of them are no fair sample.
    """
    if not count:
        return []
    return np.unique(np.linspace(0, count - 1, min(count, max_count)).round().astype(int)).tolist()


def _event_rows_by_user(evaluation_data: EvaluationData) -> dict[str, np.ndarray]:
    """Rows of each user's events of the evaluation period, oldest first."""
    events = evaluation_data.events
    if events is None or not len(events):
        return {}
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user_indices, starts = np.unique(events.user[order], return_index=True)
    rows_of_users = np.split(order, starts[1:])
    return {str(events.users[index]): rows for index, rows in zip(user_indices, rows_of_users, strict=True)}


def _units_at_cuts(
    histories: Histories, evaluation_data: EvaluationData, user: str, rows: np.ndarray, cuts: list[int]
) -> Iterator[EvaluationUnit]:
    """For each cut an anonymous session of the events before it, with the item of the next event as the target.

    The items of the session have no times of their own, as in a request that lists the products of a session.

    Args:
        histories: of the bundle.
        evaluation_data: its events are used.
        user: name of the units.
        rows: (n,) rows of the user's events, oldest first.
        cuts: numbers of events before each target, from 1 to n - 1.
    """
    events = evaluation_data.events
    if events is None:
        return
    for cut in cuts:
        now = float(events.time[rows[cut - 1]])
        session = [(int(item), now, SESSION_EVENT_WEIGHT) for item in events.item[rows[:cut]]]
        history = histories.history_of(None, session, now)
        target = events.item[rows[cut : cut + 1]]
        yield EvaluationUnit(user, history, target, 1, False)
