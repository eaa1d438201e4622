"""Whom recommend is judged and tuned on: users whom the bundle knows, and visits of people it does not know."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Evidence, Ints
from vetrina.features.histories import Histories
from vetrina.scenarios.recommend.online import SESSION_WEIGHT


@dataclass(frozen=True)
class Unit:
    """``items`` (n,) distinct targets in the catalogue of ``relevant`` in all; ``known`` users have a history in the bundle."""

    name: str
    history: History
    items: Ints
    relevant: int
    known: bool


def users(histories: Histories, evidence: Evidence, *, new_only: bool, most: int) -> Iterator[Unit]:
    """Each user at the beginning of the period with all that they took in it; ``new_only`` leaves out what they had before.

    At most ``most``, evenly spread. Of someone the bundle does not know, the last event is asked for after the earlier ones
    of the period.
    """
    targets = evidence.targets
    if targets is None:
        return
    rows = _rows(evidence)
    for at in _spread(len(targets.user), most):
        name, items = targets.user[at], targets.items[at]
        known = name in histories
        if not known and len(rows.get(name, ())) > 1:
            for unit in _at(histories, evidence, name, rows[name], [len(rows[name]) - 1]):
                if not (new_only and np.isin(unit.items, unit.history.items).all()):
                    yield unit
            continue
        history = histories.of(name, (), evidence.now)
        wanted = items[~np.isin(items, history.counts_items)] if new_only else items
        if len(wanted):
            yield Unit(name, history, wanted[wanted >= 0], len(wanted), known)


def visits(histories: Histories, evidence: Evidence, *, each: int, most: int, seed: int = 42) -> list[Unit]:
    """Beginnings of what users did in the period, as if nobody knew them, and the next product; at most ``each`` a user."""
    rng = np.random.default_rng(seed)
    rows = [(name, found) for name, found in _rows(evidence).items() if len(found) > 1]
    found: list[Unit] = []
    for at in rng.permutation(len(rows)):
        name, own = rows[at]
        cuts = rng.permutation(np.arange(1, len(own)))[:each]
        found += _at(histories, evidence, name, own, sorted(cuts.tolist()))
        if len(found) >= most:
            break
    return found[:most]


def arrivals(histories: Histories, evidence: Evidence, *, most: int) -> list[Unit]:
    """People whom the bundle does not know, before they have looked at anything, and what they took in the period."""
    targets, rows = evidence.targets, _rows(evidence)
    if targets is None or evidence.events is None:
        return []
    new = [at for at, name in enumerate(targets.user) if name not in histories and name in rows]
    found: list[Unit] = []
    for at in (new[i] for i in _spread(len(new), most)):
        name, items = targets.user[at], targets.items[at]
        now = float(evidence.events.time[rows[name][0]])
        found.append(Unit(name, histories.of(name, (), now), items[items >= 0], len(items), False))
    return found


def _spread(count: int, most: int) -> list[int]:
    """All places of ``count``, or ``most`` of them: names may tell who came when, so the first are no sample."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def _rows(evidence: Evidence) -> dict[str, np.ndarray]:
    """Rows of each user's events of the period, oldest first."""
    events = evidence.events
    if events is None or not len(events):
        return {}
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    names, starts = np.unique(events.user[order], return_index=True)
    return {str(events.users[n]): part for n, part in zip(names, np.split(order, starts[1:]), strict=True)}


def _at(histories: Histories, evidence: Evidence, name: str, rows: np.ndarray, cuts: list[int]) -> Iterator[Unit]:
    """A unit for each place in a user's rows: what came before is the visit, as a page would send it, without times."""
    events = evidence.events
    if events is None:
        return
    for cut in cuts:
        now = float(events.time[rows[cut - 1]])
        seen = [(int(item), now, SESSION_WEIGHT) for item in events.item[rows[:cut]]]
        yield Unit(name, histories.of(None, seen, now), events.item[rows[cut : cut + 1]], 1, False)
