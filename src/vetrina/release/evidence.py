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
from vetrina.core.rollout_types import (
    CANARY,
    CHAMPION,
    CLICKS,
    CONVERSION,
    OUTCOMES,
    REVENUE,
    LogHealth,
    OutcomeStatistics,
    PreReleaseStatistics,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.metrics.attribution import attributed_request
from vetrina.metrics.sequential import outcome_statistics

_PURCHASE = "purchase"
_MAX_CLOCK_SKEW_SECONDS = 60.0
_MAX_REPEAT_SECONDS = 1.0
_PRIOR_OBSERVATIONS = 20.0
_REVENUE_CAP_QUANTILE = 0.99
LogRow = Mapping[str, Any]


@dataclass(frozen=True)
class UnitOutcomes:
    """Units (n,) by name, whether each met the candidate, and each one's outcomes by name, shape (n,)."""

    unit_ids: tuple[str, ...]
    is_canary: np.ndarray
    outcomes: Mapping[str, np.ndarray]


def unit_id(row: LogRow) -> str | None:
    """The user of an answer, else its session."""
    return row["user"] if row["user"] is not None else row["session"]


def unit_outcomes(
    first_answer_times: Mapping[str, float],
    answers: Iterable[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    outcome_seconds: float,
) -> UnitOutcomes:
    """Outcomes of the units in ``first`` (unit to time of its first answer) within ``seconds`` from then.

    ``answers`` are rows of exposures, ``events`` rows of the log, ``named`` the answers that events name by request id.
    """
    names = tuple(first_answer_times)
    at = {name: number for number, name in enumerate(names)}
    met = np.zeros(len(names))
    canary = np.zeros(len(names), bool)
    mine: dict[str, int] = {}
    for row in answers:
        number = at.get(unit_id(row) or "")
        if number is not None and row["time"] <= first_answer_times[names[number]] + outcome_seconds:
            met[number] += 1
            canary[number] |= row["arm"] == "canary"
            mine[row["request_id"]] = number
    clicks = np.zeros(len(names))
    for request in _clicked_request_ids(events, named_answers) & mine.keys():
        clicks[mine[request]] += 1
    bought = np.zeros(len(names))
    paid = np.zeros(len(names))
    for event in events:
        number = _unit_index(event, at) if event.get("type") == _PURCHASE else None
        if number is not None and 0 <= event["time"] - first_answer_times[names[number]] <= outcome_seconds:
            bought[number] = 1.0
            paid[number] += (event.get("price") or 0.0) * (event.get("quantity") or 1.0)
    return UnitOutcomes(names, canary, {CLICKS: clicks / np.maximum(met, 1.0), CONVERSION: bought, REVENUE: paid})


def count_preferences(
    first_answer_times: Mapping[str, float],
    answers: Iterable[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    outcome_seconds: float,
) -> tuple[int, int, int]:
    """Units of ``first`` that followed more of the candidate's products in mixed lists, more of the champion's, or as many.

    ``answers`` hold their items with the team of each; each product of an answer counts once.
    """
    votes = dict.fromkeys(first_answer_times, 0)
    teams: dict[str, dict[str, str]] = {}
    whose: dict[str, str] = {}
    for row in answers:
        unit = unit_id(row)
        if (
            unit is not None
            and unit in first_answer_times
            and row["time"] <= first_answer_times[unit] + outcome_seconds
        ):
            teams[row["request_id"]] = {i["product_id"]: i.get("team", "") for i in row["items"]}
            whose[row["request_id"]] = unit
    shown = {request: named_answers[request]["items"] for request in teams if request in named_answers}
    counted: set[tuple[str, str]] = set()
    for event in events:
        request = attributed_request(event, shown)
        if request is None or (request, event["product_id"]) in counted:
            continue
        counted.add((request, event["product_id"]))
        team = teams[request].get(event["product_id"], "")
        votes[whose[request]] += (team == CANARY) - (team == CHAMPION)
    kinds = [(v > 0) - (v < 0) for v in votes.values()]
    return kinds.count(1), kinds.count(-1), kinds.count(0)


def _clicked_request_ids(events: Iterable[LogRow], named_answers: Mapping[str, LogRow]) -> set[str]:
    shown = {request: answer["items"] for request, answer in named_answers.items()}
    return {request for e in events if (request := attributed_request(e, shown)) is not None}


def _unit_index(event: LogRow, at: Mapping[str, int]) -> int | None:
    found = at.get(event["user"])
    return at.get(event["session"] or "") if found is None else found


def statistics_by_outcome(
    units: UnitOutcomes, expected: Mapping[str, tuple[float, ...]], pre_release: PreReleaseStatistics, share: float
) -> dict[str, OutcomeStatistics]:
    """The statistics that these units add, by outcome."""
    usual = tuple(pre_release.means.get(name, 0.0) for name in OUTCOMES)
    table = np.array([expected.get(n, usual) for n in units.unit_ids], float).reshape(
        len(units.unit_ids), len(OUTCOMES)
    )
    return {
        name: outcome_statistics(
            units.is_canary, _cap_revenue(name, units.outcomes[name], pre_release), table[:, column], share
        )
        for column, name in enumerate(OUTCOMES)
    }


def _cap_revenue(name: str, values: np.ndarray, pre_release: PreReleaseStatistics) -> np.ndarray:
    return np.minimum(values, pre_release.revenue_cap) if name == REVENUE and pre_release.revenue_cap > 0 else values


def log_health(events: Sequence[LogRow], named_answers: Mapping[str, LogRow]) -> LogHealth:
    """Of the events that name an answer: orphans, older than their answer, repeated under another id."""
    naming = [e for e in events if e.get("request_id")]
    orphans = sum(e["request_id"] not in named_answers for e in naming)
    backwards = sum(
        e["time"] < named_answers[e["request_id"]]["time"] - _MAX_CLOCK_SKEW_SECONDS
        for e in naming
        if e["request_id"] in named_answers
    )
    last: dict[tuple[Any, ...], float] = {}
    doubled = 0
    for event in sorted(naming, key=lambda e: e["time"]):
        key = (event["user"], event["type"], event.get("product_id"), event["request_id"])
        doubled += event["time"] - last.get(key, -np.inf) <= _MAX_REPEAT_SECONDS
        last[key] = event["time"]
    return LogHealth(len(naming), orphans, backwards, doubled)


def pre_release_statistics(
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    settings: ReleaseSettings,
    start_time: float,
    slow_seconds: float,
) -> tuple[PreReleaseStatistics, dict[str, tuple[float, float, float]]]:
    """What is fixed before a start: usual levels, limits, and what each known unit is expected to do.

    ``until`` is the start, ``target`` the seconds beyond which an answer is slow. A unit's expectation is its own past
    drawn to the mean, as strong as twenty answers (clicks) or twenty days (purchases).
    """
    seconds = settings.attribution_window_minutes * 60
    first: dict[str, float] = {}
    for row in answers:
        unit = unit_id(row)
        if unit is not None:
            first[unit] = min(first.get(unit, np.inf), row["time"])
    ripe = {u: t for u, t in first.items() if t <= start_time - seconds}
    found = unit_outcomes(ripe, answers, events, named_answers, seconds)
    spent = found.outcomes[REVENUE]
    cap = float(np.quantile(spent[spent > 0], _REVENUE_CAP_QUANTILE)) if (spent > 0).any() else 0.0
    known = PreReleaseStatistics(
        len(found.unit_ids),
        len(answers),
        {n: int((v > 0).sum()) for n, v in found.outcomes.items()},
        {
            n: float(np.minimum(v, cap).mean() if n == REVENUE else v.mean()) if len(v) else 0.0
            for n, v in found.outcomes.items()
        },
        cap,
        _true_share(a["fault"] is not None for a in answers),
        _true_share((a["seconds"] or 0.0) > slow_seconds for a in answers),
    )
    return known, _expected_outcomes(first, answers, events, named_answers, known)


def _expected_outcomes(
    first_answer_times: Mapping[str, float],
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    pre_release: PreReleaseStatistics,
) -> dict[str, tuple[float, float, float]]:
    met = defaultdict(int)
    clicked = defaultdict(int)
    days = defaultdict(set)
    bought = defaultdict(set)
    spent = defaultdict(float)
    whose = {}
    for row in answers:
        unit = unit_id(row)
        if unit is not None:
            met[unit] += 1
            days[unit].add(row["time"] // DAY)
            whose[row["request_id"]] = unit
    for request in _clicked_request_ids(events, named_answers) & whose.keys():
        clicked[whose[request]] += 1
    for event in events:
        if event.get("type") == _PURCHASE and event["user"] in first_answer_times:
            bought[event["user"]].add(event["time"] // DAY)
            spent[event["user"]] += (event.get("price") or 0.0) * (event.get("quantity") or 1.0)
    usual = pre_release.means
    by_day = _mean(len(bought[u]) / len(days[u]) for u in first_answer_times)
    a_day = _mean(min(spent[u] / len(days[u]), pre_release.revenue_cap) for u in first_answer_times)
    scale = (usual[CONVERSION] / by_day if by_day else 0.0, usual[REVENUE] / a_day if a_day else 0.0)
    return {
        u: (
            (clicked[u] + _PRIOR_OBSERVATIONS * usual[CLICKS]) / (met[u] + _PRIOR_OBSERVATIONS),
            scale[0] * (len(bought[u]) + _PRIOR_OBSERVATIONS * by_day) / (len(days[u]) + _PRIOR_OBSERVATIONS),
            scale[1]
            * (min(spent[u], pre_release.revenue_cap * len(days[u])) + _PRIOR_OBSERVATIONS * a_day)
            / (len(days[u]) + _PRIOR_OBSERVATIONS),
        )
        for u in first_answer_times
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0


def _true_share(flags: Iterable[bool]) -> float:
    return _mean(float(f) for f in flags)
