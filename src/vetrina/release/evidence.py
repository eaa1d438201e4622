"""Live evidence of a release: outcome statistics by unit from rows of the log. Pure; knows columns, not the store.

The unit is a user (or a session without user) within a step of the ramp. It counts once its attribution window is over, so
that no outcome changes after it was counted, and only if the window ended within the step: who moves arms counts anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
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
from vetrina.release.decision_time import TrafficEstimate

_PURCHASE = "purchase"  # type of an event
_MAX_CLOCK_SKEW_SECONDS = 60.0  # by which an event may be older than its answer
_MAX_REPEAT_SECONDS = 1.0  # between an event and its repetition
_PRIOR_OBSERVATIONS = 20.0  # answers, or days: strength of the shrinkage of a unit's own past
_REVENUE_CAP_QUANTILE = 0.99  # of the units that spend anything
_MAX_PURCHASE = 1e12  # of one purchase, in any currency: sums of squares of it stay finite
LogRow = Mapping[str, Any]


@dataclass(frozen=True)
class UnitOutcomes:
    """Units (n,) by name, whether each was assigned to the candidate, and the units' outcomes by name, each (n,)."""

    unit_ids: tuple[str, ...]
    is_candidate: np.ndarray
    outcomes: Mapping[str, np.ndarray]


@dataclass
class _UnitHistory:
    """What is known of a unit before a release: answers, clicked answers, days, days with a purchase, revenue."""

    answers: int = 0
    clicked_answers: int = 0
    days: set[float] = field(default_factory=set)
    purchase_days: set[float] = field(default_factory=set)
    revenue: float = 0.0


def unit_id(row: LogRow) -> str | None:
    """The user of an answer, else its session."""
    if row["user"] is not None:
        return row["user"]
    return row["session"]


def unit_outcomes(
    first_answer_times: Mapping[str, float],
    answers: Iterable[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    outcome_seconds: float,
    candidate_arm: str = CANARY,
) -> UnitOutcomes:
    """Outcomes of units within ``outcome_seconds`` from their first answer.

    Args:
        first_answer_times: Time of the first answer of each unit, seconds since 1970.
        answers: Rows of exposures.
        events: Rows of the event log.
        named_answers: The answers that events name, by request id.
        outcome_seconds: Length of the attribution window.
        candidate_arm: The arm of answers that count for the candidate.
    """
    names = tuple(first_answer_times)
    number_of_unit = {name: number for number, name in enumerate(names)}
    n_answers = np.zeros(len(names))
    is_candidate = np.zeros(len(names), bool)
    unit_of_request: dict[str, int] = {}
    for answer in answers:
        number = number_of_unit.get(unit_id(answer) or "")
        if number is None or answer["time"] > first_answer_times[names[number]] + outcome_seconds:
            continue
        n_answers[number] += 1
        is_candidate[number] |= answer["arm"] == candidate_arm
        unit_of_request[answer["request_id"]] = number

    clicked_answers = np.zeros(len(names))
    for request_id in _clicked_request_ids(events, named_answers):
        if request_id in unit_of_request:
            clicked_answers[unit_of_request[request_id]] += 1

    has_purchase = np.zeros(len(names))
    revenue = np.zeros(len(names))
    for event in events:
        if event.get("type") != _PURCHASE:
            continue
        number = _unit_index(event, number_of_unit)
        if number is None:
            continue
        delay_seconds = event["time"] - first_answer_times[names[number]]
        if 0 <= delay_seconds <= outcome_seconds:
            has_purchase[number] = 1.0
            revenue[number] += _revenue(event)
    click_rate = clicked_answers / np.maximum(n_answers, 1.0)
    return UnitOutcomes(names, is_candidate, {CLICKS: click_rate, CONVERSION: has_purchase, REVENUE: revenue})


def count_preferences(
    first_answer_times: Mapping[str, float],
    answers: Iterable[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    outcome_seconds: float,
) -> tuple[int, int, int]:
    """Units that clicked more of the candidate's products in interleaved answers, more of the champion's, or as many of both.

    Args:
        first_answer_times: Time of the first interleaved answer of each unit, seconds since 1970.
        answers: Rows of interleaved answers, whose items name their team. Each product of an answer counts once.
        events: Rows of the event log.
        named_answers: The answers that events name, by request id.
        outcome_seconds: Length of the attribution window.

    Returns:
        Numbers of units: wins of the candidate, losses, ties.
    """
    preference = dict.fromkeys(first_answer_times, 0)  # clicks on the candidate's products less those on the champion's
    team_by_product: dict[str, dict[str, str]] = {}  # of each request
    unit_of_request: dict[str, str] = {}
    for answer in answers:
        unit = unit_id(answer)
        if unit is None or unit not in first_answer_times:
            continue
        if answer["time"] <= first_answer_times[unit] + outcome_seconds:
            team_by_product[answer["request_id"]] = {
                item["product_id"]: item.get("team", "") for item in answer["items"]
            }
            unit_of_request[answer["request_id"]] = unit
    shown = {
        request_id: named_answers[request_id]["items"] for request_id in team_by_product if request_id in named_answers
    }
    counted: set[tuple[str, str]] = set()
    for event in events:
        request_id = attributed_request(event, shown)
        if request_id is None or (request_id, event["product_id"]) in counted:
            continue
        counted.add((request_id, event["product_id"]))
        team = team_by_product[request_id].get(event["product_id"], "")
        if team == CANARY:
            preference[unit_of_request[request_id]] += 1
        elif team == CHAMPION:
            preference[unit_of_request[request_id]] -= 1
    values = np.array(list(preference.values()), int)
    return int((values > 0).sum()), int((values < 0).sum()), int((values == 0).sum())


def statistics_by_outcome(
    units: UnitOutcomes, expected: Mapping[str, tuple[float, ...]], pre_release: PreReleaseStatistics, share: float
) -> dict[str, OutcomeStatistics]:
    """The statistics that these units add, by outcome.

    Args:
        units: Units and their outcomes.
        expected: Expected outcomes of units that were known before the release, in the order of ``OUTCOMES``.
        pre_release: Means before the release, expected of all other units, and the cap of revenue.
        share: Share of units assigned to the candidate.
    """
    mean_outcomes = tuple(pre_release.means.get(name, 0.0) for name in OUTCOMES)
    rows = [expected.get(name, mean_outcomes) for name in units.unit_ids]
    expected_table = np.array(rows, float).reshape(len(units.unit_ids), len(OUTCOMES))
    statistics = {}
    for column, name in enumerate(OUTCOMES):
        values = _cap_revenue(name, units.outcomes[name], pre_release)
        statistics[name] = outcome_statistics(units.is_candidate, values, expected_table[:, column], share)
    return statistics


def log_health(events: Sequence[LogRow], named_answers: Mapping[str, LogRow]) -> LogHealth:
    """Of the events that name an answer: how many name an unknown one, are older than it, or repeat another under a new id."""
    naming = [event for event in events if event.get("request_id")]
    n_orphans = 0
    n_backwards = 0
    for event in naming:
        answer = named_answers.get(event["request_id"])
        if answer is None:
            n_orphans += 1
        elif event["time"] < answer["time"] - _MAX_CLOCK_SKEW_SECONDS:
            n_backwards += 1
    n_doubled = 0
    last_time: dict[tuple[Any, ...], float] = {}
    for event in sorted(naming, key=lambda event: event["time"]):
        key = (event["user"], event["type"], event.get("product_id"), event["request_id"])
        if key in last_time and event["time"] - last_time[key] <= _MAX_REPEAT_SECONDS:
            n_doubled += 1
        last_time[key] = event["time"]
    return LogHealth(len(naming), n_orphans, n_backwards, n_doubled)


def pre_release_statistics(
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    settings: ReleaseSettings,
    start_time: float,
    slow_seconds: float,
) -> tuple[PreReleaseStatistics, dict[str, tuple[float, float, float]]]:
    """What is fixed before a release starts: mean outcomes, and the expected outcomes of each known unit.

    The expectation of a unit is its own past shrunk towards the mean, with the strength of twenty answers (clicks) or twenty
    days (purchases).

    Args:
        answers: Rows of the champion's exposures in the time before.
        events: Rows of the event log of that time.
        named_answers: The answers that events name, by request id.
        settings: Length of the attribution window.
        start_time: Start of the release, seconds since 1970.
        slow_seconds: Seconds beyond which an answer is slow.

    Returns:
        The statistics, and by unit the expected clicked answers, conversion and revenue.
    """
    window_seconds = settings.attribution_window_minutes * 60
    first_answer_times = _first_answer_times(answers)
    finished = {unit: at for unit, at in first_answer_times.items() if at <= start_time - window_seconds}
    units = unit_outcomes(finished, answers, events, named_answers, window_seconds)
    revenue = units.outcomes[REVENUE]
    revenue_cap = _revenue_cap(revenue)
    active = {}
    means = {}
    for name, values in units.outcomes.items():
        active[name] = int((values > 0).sum())
        means[name] = _array_mean(values)
    means[REVENUE] = _array_mean(np.clip(revenue, -revenue_cap, revenue_cap))
    statistics = PreReleaseStatistics(
        len(units.unit_ids),
        len(answers),
        active,
        means,
        revenue_cap,
        _true_share(answer["fault"] is not None for answer in answers),
        _true_share((answer["seconds"] or 0.0) > slow_seconds for answer in answers),
    )
    return statistics, _expected_outcomes(first_answer_times, answers, events, named_answers, statistics)


def estimate_traffic(
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    settings: ReleaseSettings,
    start_time: float,
) -> TrafficEstimate:
    """Units a day before a release, with the mean and the variance of their primary outcome.

    Args:
        answers: Rows of the scenario's exposures in the ``pre_period_days`` before, of whatever version.
        events: Rows of the event log of that time.
        named_answers: The answers that events name, by request id.
        settings: Primary outcome, length of the period and of the attribution window.
        start_time: Start of the release, seconds since 1970.
    """
    first_answer_times = _first_answer_times(answers)
    if not first_answer_times:
        return TrafficEstimate()
    days_with_answers = (start_time - min(first_answer_times.values())) / DAY
    # A shop that is a few hours old is no busier than it was in them: at least a day.
    days = max(1.0, min(settings.pre_period_days, days_with_answers))
    window_seconds = settings.attribution_window_minutes * 60
    units = unit_outcomes(first_answer_times, answers, events, named_answers, window_seconds)
    outcome = units.outcomes[settings.primary_metric]
    if settings.primary_metric == REVENUE:
        revenue_cap = _revenue_cap(outcome)
        outcome = np.clip(outcome, -revenue_cap, revenue_cap)
    return TrafficEstimate(
        len(units.unit_ids) / days,
        _array_mean(outcome),
        float(outcome.var()),
        _array_mean((outcome > 0).astype(float)),
    )


def _first_answer_times(answers: Iterable[LogRow]) -> dict[str, float]:
    """Time of the first answer of each unit."""
    times: dict[str, float] = {}
    for answer in answers:
        unit = unit_id(answer)
        if unit is not None:
            times[unit] = min(times.get(unit, np.inf), answer["time"])
    return times


def _expected_outcomes(
    first_answer_times: Mapping[str, float],
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
    pre_release: PreReleaseStatistics,
) -> dict[str, tuple[float, float, float]]:
    """Expected clicked answers, conversion and revenue of each unit."""
    histories = _unit_histories(first_answer_times, answers, events, named_answers)
    means = pre_release.means
    mean_purchases = _mean(len(history.purchase_days) / len(history.days) for history in histories.values())
    revenue_cap = pre_release.revenue_cap
    mean_revenue = _mean(_bounded(history.revenue / len(history.days), revenue_cap) for history in histories.values())
    # Purchases and revenue a day become those of an attribution window.
    purchase_scale = 0.0
    if mean_purchases:
        purchase_scale = means[CONVERSION] / mean_purchases
    revenue_scale = 0.0
    if mean_revenue > 0:
        revenue_scale = means[REVENUE] / mean_revenue

    expected = {}
    for unit, history in histories.items():
        n_days = len(history.days)
        spent = _bounded(history.revenue, revenue_cap * n_days)
        clicks = _shrink(history.clicked_answers, history.answers, means[CLICKS], 1.0)
        conversion = _shrink(len(history.purchase_days), n_days, mean_purchases, purchase_scale)
        revenue = _bounded(_shrink(spent, n_days, mean_revenue, revenue_scale), revenue_cap)
        expected[unit] = (clicks, conversion, revenue)
    return expected


def _shrink(total: float, n: int, mean: float, scale: float) -> float:
    """The mean of ``n`` observations with the sum ``total``, shrunk towards ``mean``, times ``scale``."""
    return scale * (total + _PRIOR_OBSERVATIONS * mean) / (n + _PRIOR_OBSERVATIONS)


def _unit_histories(
    first_answer_times: Mapping[str, float],
    answers: Sequence[LogRow],
    events: Sequence[LogRow],
    named_answers: Mapping[str, LogRow],
) -> dict[str, _UnitHistory]:
    histories = {unit: _UnitHistory() for unit in first_answer_times}
    unit_of_request: dict[str, str] = {}
    for answer in answers:
        unit = unit_id(answer)
        if unit is not None:
            histories[unit].answers += 1
            histories[unit].days.add(answer["time"] // DAY)
            unit_of_request[answer["request_id"]] = unit
    for request_id in _clicked_request_ids(events, named_answers):
        if request_id in unit_of_request:
            histories[unit_of_request[request_id]].clicked_answers += 1
    for event in events:
        if event.get("type") == _PURCHASE and event["user"] in histories:
            history = histories[event["user"]]
            history.purchase_days.add(event["time"] // DAY)
            history.revenue += _revenue(event)
    return histories


def _clicked_request_ids(events: Iterable[LogRow], named_answers: Mapping[str, LogRow]) -> set[str]:
    """The answers that events followed."""
    shown = {request_id: answer["items"] for request_id, answer in named_answers.items()}
    clicked = {attributed_request(event, shown) for event in events}
    return {request_id for request_id in clicked if request_id is not None}


def _unit_index(event: LogRow, number_of_unit: Mapping[str, int]) -> int | None:
    """The unit of an event: its user's, else its session's."""
    number = number_of_unit.get(event["user"])
    if number is None:
        return number_of_unit.get(event["session"] or "")
    return number


def _revenue(event: LogRow) -> float:
    """The money of a purchase, negative where it is taken back."""
    price = event.get("price") or 0.0
    quantity = event.get("quantity") or 1.0
    return _bounded(price * quantity, _MAX_PURCHASE)


def _bounded(value: float, bound: float) -> float:
    """The value within ``-bound`` and ``bound``; 0 where it is not a number."""
    if isnan(value):
        return 0.0
    return min(max(value, -bound), bound)


def _revenue_cap(revenue: np.ndarray) -> float:
    """Largest revenue that a unit may contribute, and its negative the smallest; 0 where no unit spends anything."""
    spent = revenue[revenue > 0]
    if not len(spent):
        return 0.0
    return float(np.quantile(spent, _REVENUE_CAP_QUANTILE))


def _cap_revenue(name: str, values: np.ndarray, pre_release: PreReleaseStatistics) -> np.ndarray:
    if name == REVENUE and pre_release.revenue_cap > 0:
        return np.clip(values, -pre_release.revenue_cap, pre_release.revenue_cap)
    return values


def _array_mean(values: np.ndarray) -> float:
    if not len(values):
        return 0.0
    return float(values.mean())


def _mean(values: Iterable[float]) -> float:
    return _array_mean(np.array(list(values), float))


def _true_share(flags: Iterable[bool]) -> float:
    return _mean(float(flag) for flag in flags)
