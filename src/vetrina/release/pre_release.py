"""Outcomes of units before a release, from a log that is larger than memory. Pure; does not know the store.

Answers and events are added in pieces, oldest first. What is kept of them are a few numbers for each unit, click and purchase.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.exposures import Exposure
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.rollout_types import CLICKS, CONVERSION, REVENUE, PreReleaseStatistics
from vetrina.core.settings import ReleaseSettings
from vetrina.release.decision_time import TrafficEstimate
from vetrina.release.evidence import PURCHASE, clicked_request_ids, purchase_revenue, revenue_cap_of

_PRIOR_OBSERVATIONS = 20.0  # answers, or days: strength of the shrinkage of a unit's own past
Floats = NDArray[np.float64]


class ExpectedOutcomes(Mapping[str, tuple[float, float, float]]):
    """Expected (clicks, conversion, revenue) of units that were active before a release, by unit.

    Args:
        numbers: Number of each unit; units without an expectation may be among them.
        values: (n, 3) expectations by number, NaN for units without one.
    """

    def __init__(self, numbers: Mapping[str, int], values: Floats) -> None:
        self._numbers = numbers
        self._values = values

    def __getitem__(self, unit: str) -> tuple[float, float, float]:
        clicks, conversion, revenue = self._values[self._numbers[unit]].tolist()
        if clicks != clicks:
            raise KeyError(unit)
        return clicks, conversion, revenue

    def __iter__(self) -> Iterator[str]:
        has_values = ~np.isnan(self._values[:, 0])
        return (unit for unit, number in self._numbers.items() if has_values[number])

    def __len__(self) -> int:
        return int((~np.isnan(self._values[:, 0])).sum())


class _Answers:
    """Answers of each unit: time of the first, number within its attribution window, number in all, number of days."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self.first = array("d")
        self.in_window = array("d")
        self.count = array("d")
        self.days = array("d")
        self._last_day = array("d")

    def add_unit(self) -> None:
        self.first.append(inf)
        for column in (self.in_window, self.count, self.days, self._last_day):
            column.append(0.0)

    def add(self, number: int, time: float) -> None:
        """Add an answer of a unit that is not older than those before."""
        if self.first[number] == inf:
            self.first[number] = time
        self.count[number] += 1.0
        if time <= self.first[number] + self._window_seconds:
            self.in_window[number] += 1.0
        day = time // DAY
        if day != self._last_day[number]:
            self._last_day[number] = day
            self.days[number] += 1.0


class PreReleaseLog:
    """What the log says about the time before a release.

    Args:
        scenario: Scenario of the champion.
        champion: The version that a candidate is compared with: another version before it may have done better or worse.
        settings: Length of the attribution window and of the period, and the primary outcome.
        period: Start of the period and of the release, seconds since 1970.
        slow_seconds: Seconds beyond which an answer is slow.
    """

    def __init__(
        self, scenario: str, champion: str, settings: ReleaseSettings, period: tuple[float, float], slow_seconds: float
    ) -> None:
        self._scenario = scenario
        self._champion = champion
        self._settings = settings
        self._since, self._start_time = period
        self._slow_seconds = slow_seconds
        self._window_seconds = settings.attribution_window_minutes * 60
        self._numbers: dict[str, int] = {}
        self._all = _Answers(self._window_seconds)
        self._of_champion = _Answers(self._window_seconds)
        self._n_answers = 0  # of the champion, with those of nobody known
        self._n_faults = 0
        self._n_slow = 0
        # Distinct answers that were clicked.
        self._clicked: set[int] = set()  # hashes of request ids
        self._click_units = array("q")
        self._click_times = array("d")
        self._click_is_champion = array("b")
        self._purchases: list[tuple[str, str | None, float, float]] = []  # user, session, time, revenue

    def add_answers(self, answers: Iterable[Exposure]) -> None:
        """Add a piece of the scenario's exposures, which are newer than those before."""
        for answer in sorted(answers, key=lambda answer: answer.time):
            is_champion = answer.version == self._champion
            if is_champion:
                self._n_answers += 1
                self._n_faults += answer.fault is not None
                self._n_slow += (answer.seconds or 0.0) > self._slow_seconds
            if answer.unit is None:
                continue
            number = self._number_of(answer.unit)
            self._all.add(number, answer.time)
            if is_champion:
                self._of_champion.add(number, answer.time)

    def add_events(self, events: Sequence[LoggedEvent], named_answers: Mapping[str, Exposure]) -> None:
        """Add a piece of the event log, with the answers that its events name by request id."""
        for request_id in clicked_request_ids(events, named_answers):
            self._add_click(request_id, named_answers[request_id])
        for event in events:
            if event.type == PURCHASE:
                self._purchases.append((event.user, event.session, event.time, purchase_revenue(event)))

    def statistics(self) -> tuple[PreReleaseStatistics, ExpectedOutcomes]:
        """What is fixed before a release starts: mean outcomes of the champion, and the expected outcomes of each known unit.

        The expectation of a unit is its own past shrunk towards the mean, with the strength of twenty answers (clicks) or twenty
        days (purchases).
        """
        first = _column(self._of_champion.first)
        finished = first <= self._start_time - self._window_seconds
        outcomes = {name: values[finished] for name, values in self._outcomes(self._of_champion, True).items()}
        revenue_cap = revenue_cap_of(outcomes[REVENUE])
        active = {name: int((values > 0).sum()) for name, values in outcomes.items()}
        outcomes[REVENUE] = np.clip(outcomes[REVENUE], -revenue_cap, revenue_cap)
        means = {name: _mean(values) for name, values in outcomes.items()}
        statistics = PreReleaseStatistics(
            int(finished.sum()),
            self._n_answers,
            active,
            means,
            revenue_cap,
            self._n_faults / max(1, self._n_answers),
            self._n_slow / max(1, self._n_answers),
        )
        return statistics, ExpectedOutcomes(self._numbers, self._expectations(means, revenue_cap))

    def traffic(self) -> TrafficEstimate:
        """Units a day with whatever version, with the mean and the variance of their primary outcome."""
        has_answers = np.isfinite(_column(self._all.first))
        if not has_answers.any():
            return TrafficEstimate()
        days_with_answers = (self._start_time - _column(self._all.first).min()) / DAY
        # A shop that is a few hours old is no busier than it was in them: at least a day.
        days = max(1.0, min(self._settings.pre_period_days, days_with_answers))
        outcome = self._outcomes(self._all, False)[self._settings.primary_metric][has_answers]
        if self._settings.primary_metric == REVENUE:
            revenue_cap = revenue_cap_of(outcome)
            outcome = np.clip(outcome, -revenue_cap, revenue_cap)
        return TrafficEstimate(
            len(outcome) / float(days), _mean(outcome), float(outcome.var()), _mean((outcome > 0).astype(float))
        )

    def _number_of(self, unit: str) -> int:
        number = self._numbers.get(unit)
        if number is None:
            number = len(self._numbers)
            self._numbers[unit] = number
            self._all.add_unit()
            self._of_champion.add_unit()
        return number

    def _add_click(self, request_id: str, answer: Exposure) -> None:
        is_in_period = self._since < answer.time <= self._start_time
        if answer.unit is None or answer.scenario != self._scenario or not is_in_period:
            return
        key = hash(request_id)
        if key in self._clicked:
            return
        self._clicked.add(key)
        self._click_units.append(self._number_of(answer.unit))
        self._click_times.append(answer.time)
        self._click_is_champion.append(answer.version == self._champion)

    def _outcomes(self, answers: _Answers, champion_only: bool) -> dict[str, Floats]:
        """Outcomes of all units (n,) within the attribution window from their first answer; 0 for units without answers."""
        n_units = len(self._numbers)
        first = _column(answers.first)
        clicks = self._clicks(champion_only)
        clicked_in_window = clicks[
            _column(self._click_times)[clicks[:, 1]] <= first[clicks[:, 0]] + self._window_seconds
        ]
        clicked = np.bincount(clicked_in_window[:, 0], minlength=n_units)
        converted = np.zeros(n_units)
        revenue = np.zeros(n_units)
        for user, session, time, spent in self._purchases:
            number = self._unit_in(answers, user)
            if number is None:
                number = self._unit_in(answers, session)
            if number is not None and 0.0 <= time - answers.first[number] <= self._window_seconds:
                converted[number] = 1.0
                revenue[number] += spent
        click_rate = clicked / np.maximum(_column(answers.in_window), 1.0)
        return {CLICKS: click_rate, CONVERSION: converted, REVENUE: revenue}

    def _clicks(self, champion_only: bool) -> NDArray[np.int64]:
        """(n, 2) unit and position of each clicked answer."""
        units = np.frombuffer(self._click_units, np.int64) if self._click_units else np.zeros(0, np.int64)
        clicks = np.column_stack([units, np.arange(len(units))])
        if champion_only:
            return clicks[np.array(self._click_is_champion, bool)]
        return clicks

    def _unit_in(self, answers: _Answers, unit: str | None) -> int | None:
        """Number of a unit that has answers."""
        number = self._numbers.get(unit or "")
        if number is None or answers.first[number] == inf:
            return None
        return number

    def _expectations(self, means: Mapping[str, float], revenue_cap: float) -> Floats:
        """(n, 3) expected clicked answers, conversion and revenue, NaN for units without an answer of the champion."""
        n_units = len(self._numbers)
        answers = self._of_champion
        is_known = np.isfinite(_column(answers.first))
        n_days = np.maximum(_column(answers.days), 1.0)
        clicked = np.bincount(self._clicks(True)[:, 0], minlength=n_units)
        purchase_days = np.zeros(n_units)
        revenue = np.zeros(n_units)
        days_of_purchases: set[tuple[int, float]] = set()
        for user, _, time, spent in self._purchases:
            number = self._unit_in(answers, user)
            if number is not None:
                days_of_purchases.add((number, time // DAY))
                revenue[number] += spent
        for number, _ in days_of_purchases:
            purchase_days[number] += 1.0
        mean_purchases = _mean((purchase_days / n_days)[is_known])
        mean_revenue = _mean(np.clip(revenue / n_days, -revenue_cap, revenue_cap)[is_known])
        # Purchases and revenue a day become those of an attribution window.
        purchase_scale = 0.0
        if mean_purchases:
            purchase_scale = means[CONVERSION] / mean_purchases
        revenue_scale = 0.0
        if mean_revenue > 0:
            revenue_scale = means[REVENUE] / mean_revenue
        spent_in_all = np.clip(revenue, -revenue_cap * n_days, revenue_cap * n_days)
        expected_revenue = revenue_scale * _shrink(spent_in_all, n_days, mean_revenue)
        values = np.column_stack(
            [
                _shrink(clicked, _column(answers.count), means[CLICKS]),
                purchase_scale * _shrink(purchase_days, n_days, mean_purchases),
                np.clip(expected_revenue, -revenue_cap, revenue_cap),
            ]
        )
        values[~is_known] = np.nan
        return values


def _column(values: "array[float]") -> Floats:
    return np.array(values, float)


def _shrink(totals: NDArray[np.number], counts: Floats, mean: float) -> Floats:
    """Means of ``counts`` observations with the sums ``totals``, shrunk towards ``mean``."""
    return (totals.astype(np.float64) + _PRIOR_OBSERVATIONS * mean) / (counts + _PRIOR_OBSERVATIONS)


def _mean(values: Floats) -> float:
    if not len(values):
        return 0.0
    return float(values.mean())
