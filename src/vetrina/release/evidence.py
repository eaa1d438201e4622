"""From rows of the log to the evidence of a release. Pure: knows the log's columns, not where it lies.

The unit is a user (or a session without user) within a step of the ramp. It counts once its time to act is over, so that no
outcome changes after it was counted, and only if that time ended within the step: who moves arms counts anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.core.clock import DAY
from vetrina.core.rollout import CANARY, CHAMPION, CLICKS, CONVERSION, OUTCOMES, REVENUE, Before, LogHealth, Sums
from vetrina.core.settings import Releases
from vetrina.metrics.attribution import followed
from vetrina.metrics.sequential import sums

_BUYS = "purchase"
_SKEW_SECONDS, _REPEAT_SECONDS = 60.0, 1.0
_SHRINK, _CAP_QUANTILE = 20.0, 0.99
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Units:
    """Units (n,) by name, whether each met the candidate, and each one's outcomes by name, shape (n,)."""

    names: tuple[str, ...]
    canary: np.ndarray
    outcomes: Mapping[str, np.ndarray]


def unit_of(row: Row) -> str | None:
    """The user of an answer, else its session."""
    return row["user"] if row["user"] is not None else row["session"]


def units(
    first: Mapping[str, float], answers: Iterable[Row], events: Sequence[Row], named: Mapping[str, Row], seconds: float
) -> Units:
    """Outcomes of the units in ``first`` (unit to time of its first answer) within ``seconds`` from then.

    ``answers`` are rows of exposures, ``events`` rows of the log, ``named`` the answers that events name by request id.
    """
    names = tuple(first)
    at = {name: number for number, name in enumerate(names)}
    met, canary = np.zeros(len(names)), np.zeros(len(names), bool)
    mine: dict[str, int] = {}
    for row in answers:
        number = at.get(unit_of(row) or "")
        if number is not None and row["time"] <= first[names[number]] + seconds:
            met[number] += 1
            canary[number] |= row["arm"] == "canary"
            mine[row["request_id"]] = number
    clicks = np.zeros(len(names))
    for request in _clicked(events, named) & mine.keys():
        clicks[mine[request]] += 1
    bought, paid = np.zeros(len(names)), np.zeros(len(names))
    for event in events:
        number = _unit_at(event, at) if event.get("type") == _BUYS else None
        if number is not None and 0 <= event["time"] - first[names[number]] <= seconds:
            bought[number] = 1.0
            paid[number] += (event.get("price") or 0.0) * (event.get("quantity") or 1.0)
    return Units(names, canary, {CLICKS: clicks / np.maximum(met, 1.0), CONVERSION: bought, REVENUE: paid})


def preferences(
    first: Mapping[str, float], answers: Iterable[Row], events: Sequence[Row], named: Mapping[str, Row], seconds: float
) -> tuple[int, int, int]:
    """Units of ``first`` that followed more of the candidate's products in mixed lists, more of the champion's, or as many.

    ``answers`` hold their items with the team of each; each product of an answer counts once.
    """
    votes = dict.fromkeys(first, 0)
    teams: dict[str, dict[str, str]] = {}
    whose: dict[str, str] = {}
    for row in answers:
        unit = unit_of(row)
        if unit is not None and unit in first and row["time"] <= first[unit] + seconds:
            teams[row["request_id"]] = {i["product_id"]: i.get("team", "") for i in row["items"]}
            whose[row["request_id"]] = unit
    shown = {request: named[request]["items"] for request in teams if request in named}
    counted: set[tuple[str, str]] = set()
    for event in events:
        request = followed(event, shown)
        if request is None or (request, event["product_id"]) in counted:
            continue
        counted.add((request, event["product_id"]))
        team = teams[request].get(event["product_id"], "")
        votes[whose[request]] += (team == CANARY) - (team == CHAMPION)
    kinds = [(v > 0) - (v < 0) for v in votes.values()]
    return kinds.count(1), kinds.count(-1), kinds.count(0)


def _clicked(events: Iterable[Row], named: Mapping[str, Row]) -> set[str]:
    shown = {request: answer["items"] for request, answer in named.items()}
    return {request for e in events if (request := followed(e, shown)) is not None}


def _unit_at(event: Row, at: Mapping[str, int]) -> int | None:
    found = at.get(event["user"])
    return at.get(event["session"] or "") if found is None else found


def added(found: Units, expected: Mapping[str, tuple[float, ...]], before: Before, share: float) -> dict[str, Sums]:
    """The statistics that these units add, by outcome."""
    usual = tuple(before.means.get(name, 0.0) for name in OUTCOMES)
    table = np.array([expected.get(n, usual) for n in found.names], float).reshape(len(found.names), len(OUTCOMES))
    return {
        name: sums(found.canary, _capped(name, found.outcomes[name], before), table[:, column], share)
        for column, name in enumerate(OUTCOMES)
    }


def _capped(name: str, values: np.ndarray, before: Before) -> np.ndarray:
    return np.minimum(values, before.revenue_cap) if name == REVENUE and before.revenue_cap > 0 else values


def log_health(events: Sequence[Row], named: Mapping[str, Row]) -> LogHealth:
    """Of the events that name an answer: orphans, older than their answer, repeated under another id."""
    naming = [e for e in events if e.get("request_id")]
    orphans = sum(e["request_id"] not in named for e in naming)
    backwards = sum(
        e["time"] < named[e["request_id"]]["time"] - _SKEW_SECONDS for e in naming if e["request_id"] in named
    )
    last: dict[tuple[Any, ...], float] = {}
    doubled = 0
    for event in sorted(naming, key=lambda e: e["time"]):
        key = (event["user"], event["type"], event.get("product_id"), event["request_id"])
        doubled += event["time"] - last.get(key, -np.inf) <= _REPEAT_SECONDS
        last[key] = event["time"]
    return LogHealth(len(naming), orphans, backwards, doubled)


def before_release(
    answers: Sequence[Row],
    events: Sequence[Row],
    named: Mapping[str, Row],
    rules: Releases,
    until: float,
    target: float,
) -> tuple[Before, dict[str, tuple[float, float, float]]]:
    """What is fixed before a start: usual levels, limits, and what each known unit is expected to do.

    ``until`` is the start, ``target`` the seconds beyond which an answer is slow. A unit's expectation is its own past
    drawn to the mean, as strong as twenty answers (clicks) or twenty days (purchases).
    """
    seconds = rules.outcome_minutes * 60
    first: dict[str, float] = {}
    for row in answers:
        unit = unit_of(row)
        if unit is not None:
            first[unit] = min(first.get(unit, np.inf), row["time"])
    ripe = {u: t for u, t in first.items() if t <= until - seconds}
    found = units(ripe, answers, events, named, seconds)
    spent = found.outcomes[REVENUE]
    cap = float(np.quantile(spent[spent > 0], _CAP_QUANTILE)) if (spent > 0).any() else 0.0
    known = Before(
        len(found.names),
        len(answers),
        {n: int((v > 0).sum()) for n, v in found.outcomes.items()},
        {
            n: float(np.minimum(v, cap).mean() if n == REVENUE else v.mean()) if len(v) else 0.0
            for n, v in found.outcomes.items()
        },
        cap,
        _share(a["fault"] is not None for a in answers),
        _share((a["seconds"] or 0.0) > target for a in answers),
    )
    return known, _expected(first, answers, events, named, known)


def _expected(
    first: Mapping[str, float], answers: Sequence[Row], events: Sequence[Row], named: Mapping[str, Row], known: Before
) -> dict[str, tuple[float, float, float]]:
    met, clicked = defaultdict(int), defaultdict(int)
    days, bought, spent = defaultdict(set), defaultdict(set), defaultdict(float)
    whose = {}
    for row in answers:
        unit = unit_of(row)
        if unit is not None:
            met[unit] += 1
            days[unit].add(row["time"] // DAY)
            whose[row["request_id"]] = unit
    for request in _clicked(events, named) & whose.keys():
        clicked[whose[request]] += 1
    for event in events:
        if event.get("type") == _BUYS and event["user"] in first:
            bought[event["user"]].add(event["time"] // DAY)
            spent[event["user"]] += (event.get("price") or 0.0) * (event.get("quantity") or 1.0)
    usual = known.means
    by_day = _mean(len(bought[u]) / len(days[u]) for u in first)
    a_day = _mean(min(spent[u] / len(days[u]), known.revenue_cap) for u in first)
    scale = (usual[CONVERSION] / by_day if by_day else 0.0, usual[REVENUE] / a_day if a_day else 0.0)
    return {
        u: (
            (clicked[u] + _SHRINK * usual[CLICKS]) / (met[u] + _SHRINK),
            scale[0] * (len(bought[u]) + _SHRINK * by_day) / (len(days[u]) + _SHRINK),
            scale[1] * (min(spent[u], known.revenue_cap * len(days[u])) + _SHRINK * a_day) / (len(days[u]) + _SHRINK),
        )
        for u in first
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0


def _share(flags: Iterable[bool]) -> float:
    return _mean(float(f) for f in flags)
