"""Whom recommend is judged and tuned on: users whom the bundle knows, and visits of people it does not know."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import EvaluationData, Ints
from vetrina.features.histories import Histories
from vetrina.scenarios.recommend.online import SESSION_EVENT_WEIGHT


@dataclass(frozen=True)
class EvaluationUnit:
    """``items`` (n,) distinct targets in the catalogue of ``relevant`` in all; ``known`` users have a history in the bundle."""

    name: str
    history: History
    items: Ints
    n_relevant: int
    is_known: bool


def user_units(
    histories: Histories, evaluation_data: EvaluationData, *, new_items_only: bool, max_users: int
) -> Iterator[EvaluationUnit]:
    """Each user at the beginning of the period with all that they took in it; ``new_only`` leaves out what they had before.

    At most ``most``, evenly spread. Of someone the bundle does not know, the last event is asked for after the earlier ones
    of the period.
    """
    targets = evaluation_data.targets
    if targets is None:
        return
    rows = _event_rows_by_user(evaluation_data)
    for at in _evenly_spread_indices(len(targets.user_ids), max_users):
        name = targets.user_ids[at]
        items = targets.items[at]
        known = name in histories
        if not known and len(rows.get(name, ())) > 1:
            for unit in _units_at_cuts(histories, evaluation_data, name, rows[name], [len(rows[name]) - 1]):
                if not (new_items_only and np.isin(unit.items, unit.history.items).all()):
                    yield unit
            continue
        history = histories.history_of(name, (), evaluation_data.now)
        wanted = items[~np.isin(items, history.counts_items)] if new_items_only else items
        if len(wanted):
            yield EvaluationUnit(name, history, wanted[wanted >= 0], len(wanted), known)


def session_units(
    histories: Histories, evaluation_data: EvaluationData, *, max_per_user: int, max_sessions: int, seed: int = 42
) -> list[EvaluationUnit]:
    """Beginnings of what users did in the period, as if nobody knew them, and the next product; at most ``each`` a user."""
    rng = np.random.default_rng(seed)
    rows = [(name, found) for name, found in _event_rows_by_user(evaluation_data).items() if len(found) > 1]
    found: list[EvaluationUnit] = []
    for at in rng.permutation(len(rows)):
        name, own = rows[at]
        cuts = rng.permutation(np.arange(1, len(own)))[:max_per_user]
        found += _units_at_cuts(histories, evaluation_data, name, own, sorted(cuts.tolist()))
        if len(found) >= max_sessions:
            break
    return found[:max_sessions]


def new_visitor_units(
    histories: Histories, evaluation_data: EvaluationData, *, max_visitors: int
) -> list[EvaluationUnit]:
    """People whom the bundle does not know, before they have looked at anything, and what they took in the period."""
    targets = evaluation_data.targets
    rows = _event_rows_by_user(evaluation_data)
    if targets is None or evaluation_data.events is None:
        return []
    new = [at for at, name in enumerate(targets.user_ids) if name not in histories and name in rows]
    found: list[EvaluationUnit] = []
    for at in (new[i] for i in _evenly_spread_indices(len(new), max_visitors)):
        name = targets.user_ids[at]
        items = targets.items[at]
        now = float(evaluation_data.events.time[rows[name][0]])
        found.append(EvaluationUnit(name, histories.history_of(name, (), now), items[items >= 0], len(items), False))
    return found


def _evenly_spread_indices(count: int, max_count: int) -> list[int]:
    """All places of ``count``, or ``most`` of them: names may tell who came when, so the first are no sample."""
    return np.unique(np.linspace(0, count - 1, min(count, max_count)).round().astype(int)).tolist() if count else []


def _event_rows_by_user(evaluation_data: EvaluationData) -> dict[str, np.ndarray]:
    """Rows of each user's events of the period, oldest first."""
    events = evaluation_data.events
    if events is None or not len(events):
        return {}
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    names, starts = np.unique(events.user[order], return_index=True)
    return {str(events.users[n]): part for n, part in zip(names, np.split(order, starts[1:]), strict=True)}


def _units_at_cuts(
    histories: Histories, evaluation_data: EvaluationData, name: str, rows: np.ndarray, cuts: list[int]
) -> Iterator[EvaluationUnit]:
    """A unit for each place in a user's rows: what came before is the visit, as a page would send it, without times."""
    events = evaluation_data.events
    if events is None:
        return
    for cut in cuts:
        now = float(events.time[rows[cut - 1]])
        seen = [(int(item), now, SESSION_EVENT_WEIGHT) for item in events.item[rows[:cut]]]
        yield EvaluationUnit(name, histories.history_of(None, seen, now), events.item[rows[cut : cut + 1]], 1, False)
