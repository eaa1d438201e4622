"""Live evidence of a release: outcome statistics by unit from logged answers and events. Pure; does not know the store.

The unit is a user (or a session without user) within a step of the ramp. It counts once its attribution window is over, so
that no outcome changes after it was counted, and only if the window ended within the step: who moves arms counts anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from vetrina.core.exposures import Exposure
from vetrina.core.logged_events import LoggedEvent
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
from vetrina.evaluation.attribution import attributed_request
from vetrina.evaluation.sequential import outcome_statistics

PURCHASE = "purchase"  # type of an event
_MAX_CLOCK_SKEW_SECONDS = 60.0  # by which an event may be older than its answer
_MAX_REPEAT_SECONDS = 1.0  # between an event and its repetition
_REVENUE_CAP_QUANTILE = 0.99  # of the units that spend anything
_MAX_PURCHASE = 1e12  # of one purchase, in any currency: sums of squares of it stay finite


@dataclass(frozen=True)
class UnitOutcomes:
    """Units (n,) by name, whether each was assigned to the candidate, and the units' outcomes by name, each (n,)."""

    unit_ids: tuple[str, ...]
    is_candidate: np.ndarray
    outcomes: Mapping[str, np.ndarray]


def unit_outcomes(
    first_answer_times: Mapping[str, float],
    answers: Iterable[Exposure],
    events: Sequence[LoggedEvent],
    named_answers: Mapping[str, Exposure],
    outcome_seconds: float,
    candidate_arm: str = CANARY,
) -> UnitOutcomes:
    """Outcomes of units within ``outcome_seconds`` from their first answer.

    Args:
        first_answer_times: Time of the first answer of each unit, seconds since 1970.
        answers: Logged answers.
        events: Logged events.
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
        number = number_of_unit.get(answer.unit or "")
        if number is None or answer.time > first_answer_times[names[number]] + outcome_seconds:
            continue
        n_answers[number] += 1
        is_candidate[number] |= answer.arm == candidate_arm
        unit_of_request[answer.request_id] = number

    clicked_answers = np.zeros(len(names))
    for request_id in clicked_request_ids(events, named_answers):
        if request_id in unit_of_request:
            clicked_answers[unit_of_request[request_id]] += 1

    has_purchase = np.zeros(len(names))
    revenue = np.zeros(len(names))
    for event in events:
        if event.type != PURCHASE:
            continue
        number = _unit_index(event, number_of_unit)
        if number is None:
            continue
        delay_seconds = event.time - first_answer_times[names[number]]
        if 0 <= delay_seconds <= outcome_seconds:
            has_purchase[number] = 1.0
            revenue[number] += purchase_revenue(event)
    click_rate = clicked_answers / np.maximum(n_answers, 1.0)
    return UnitOutcomes(names, is_candidate, {CLICKS: click_rate, CONVERSION: has_purchase, REVENUE: revenue})


def count_preferences(
    first_answer_times: Mapping[str, float],
    answers: Iterable[Exposure],
    events: Sequence[LoggedEvent],
    named_answers: Mapping[str, Exposure],
    outcome_seconds: float,
) -> tuple[int, int, int]:
    """Units that clicked more of the candidate's products in interleaved answers, more of the champion's, or as many of both.

    Args:
        first_answer_times: Time of the first interleaved answer of each unit, seconds since 1970.
        answers: Interleaved answers, whose items name their team. Each product of an answer counts once.
        events: Logged events.
        named_answers: The answers that events name, by request id.
        outcome_seconds: Length of the attribution window.

    Returns:
        Numbers of units: wins of the candidate, losses, ties.
    """
    preference = dict.fromkeys(first_answer_times, 0)  # clicks on the candidate's products less those on the champion's
    vote_of_team = {CANARY: 1, CHAMPION: -1}
    counted_answers = _answers_in_window(first_answer_times, answers, outcome_seconds)
    answers_with_events = counted_answers.keys() & named_answers.keys()
    products_by_request = {request_id: named_answers[request_id].product_ids for request_id in answers_with_events}
    for request_id, product_id in _clicked_products(events, products_by_request):
        answer = counted_answers[request_id]
        team_by_product = {item.product_id: item.team for item in answer.items}
        team = team_by_product.get(product_id, "")
        if answer.unit is not None:
            preference[answer.unit] += vote_of_team.get(team, 0)
    values = np.array(list(preference.values()), int)
    return int((values > 0).sum()), int((values < 0).sum()), int((values == 0).sum())


def _answers_in_window(
    first_answer_times: Mapping[str, float], answers: Iterable[Exposure], outcome_seconds: float
) -> dict[str, Exposure]:
    """Answers to units within ``outcome_seconds`` from their first one, by request id."""
    in_window: dict[str, Exposure] = {}
    for answer in answers:
        first_time = first_answer_times.get(answer.unit or "")
        if first_time is not None and answer.time <= first_time + outcome_seconds:
            in_window[answer.request_id] = answer
    return in_window


def _clicked_products(
    events: Iterable[LoggedEvent], products_by_request: Mapping[str, frozenset[str]]
) -> set[tuple[str, str]]:
    """Request id and product of the answers' products that events followed, each once."""
    clicked: set[tuple[str, str]] = set()
    for event in events:
        request_id = attributed_request(event, products_by_request)
        if request_id is not None and event.product_id is not None:
            clicked.add((request_id, event.product_id))
    return clicked


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
    statistics: dict[str, OutcomeStatistics] = {}
    for column, name in enumerate(OUTCOMES):
        values = _cap_revenue(name, units.outcomes[name], pre_release)
        statistics[name] = outcome_statistics(units.is_candidate, values, expected_table[:, column], share)
    return statistics


def log_health(events: Sequence[LoggedEvent], named_answers: Mapping[str, Exposure]) -> LogHealth:
    """Of the events that name an answer: how many name an unknown one, are older than it, or repeat another under a new id."""
    naming = [event for event in events if event.request_id]
    n_orphans = 0
    n_backwards = 0
    for event in naming:
        answer = named_answers.get(event.request_id or "")
        if answer is None:
            n_orphans += 1
        elif event.time < answer.time - _MAX_CLOCK_SKEW_SECONDS:
            n_backwards += 1
    n_doubled = 0
    last_time: dict[tuple[str | None, ...], float] = {}
    for event in sorted(naming, key=lambda event: event.time):
        key = (event.user, event.type, event.product_id, event.request_id)
        if key in last_time and event.time - last_time[key] <= _MAX_REPEAT_SECONDS:
            n_doubled += 1
        last_time[key] = event.time
    return LogHealth(len(naming), n_orphans, n_backwards, n_doubled)


def clicked_request_ids(events: Iterable[LoggedEvent], named_answers: Mapping[str, Exposure]) -> set[str]:
    """The answers that events followed."""
    products_by_request = {request_id: answer.product_ids for request_id, answer in named_answers.items()}
    clicked = {attributed_request(event, products_by_request) for event in events}
    return {request_id for request_id in clicked if request_id is not None}


def _unit_index(event: LoggedEvent, number_of_unit: Mapping[str, int]) -> int | None:
    """The unit of an event: its user's, else its session's."""
    number = number_of_unit.get(event.user)
    if number is None:
        return number_of_unit.get(event.session or "")
    return number


def purchase_revenue(event: LoggedEvent) -> float:
    """The money of a purchase, negative where it is taken back."""
    price = event.price or 0.0
    quantity = event.quantity or 1.0
    return _bounded(price * quantity, _MAX_PURCHASE)


def _bounded(value: float, bound: float) -> float:
    """The value within ``-bound`` and ``bound``; 0 where it is not a number."""
    if isnan(value):
        return 0.0
    return min(max(value, -bound), bound)


def revenue_cap_of(revenue: np.ndarray) -> float:
    """Largest revenue that a unit may contribute, and its negative the smallest; 0 where no unit spends anything."""
    spent = revenue[revenue > 0]
    if not len(spent):
        return 0.0
    return float(np.quantile(spent, _REVENUE_CAP_QUANTILE))


def _cap_revenue(name: str, values: np.ndarray, pre_release: PreReleaseStatistics) -> np.ndarray:
    if name == REVENUE and pre_release.revenue_cap > 0:
        return np.clip(values, -pre_release.revenue_cap, pre_release.revenue_cap)
    return values
