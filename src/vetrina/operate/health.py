"""Health check of a scenario: drift, alerts and the retraining decision from recent days of the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from vetrina.core import clock
from vetrina.core.health_types import (
    SHOP_SCOPE,
    CandidateUnderTest,
    CurrentWindow,
    DailyStatistics,
    HealthReport,
    ReferenceWindow,
    RetrainDecision,
)
from vetrina.core.verdicts import Reason
from vetrina.monitor import monitor, persistent_drift
from vetrina.monitor.alerts import find_alerts
from vetrina.operate.daily_aggregation import DailyStatisticsReader, last_full_day
from vetrina.pipeline.shop_context import ShopContext
from vetrina.retrain import retrain
from vetrina.store import event_queries

_DAYS_CHECKED = 3


@dataclass(frozen=True)
class HealthCheck:
    """Health of a scenario on the last full day, its alerts, and whether it should be retrained."""

    health: HealthReport
    alarms: tuple[Reason, ...]
    retrain: RetrainDecision


def check_health(shop_context: ShopContext, scenario: str) -> HealthCheck:
    """Check the last three full days (UTC) of a scenario, each against the eight weeks before it."""
    now = clock.now()
    version = shop_context.champion(scenario)
    built_at = None
    events_trained_on = 0
    if version is not None:
        record = shop_context.registry.get_version(version)
        built_at = record.created
        events_trained_on = record.training.logged.get("events", 0)
    reader = DailyStatisticsReader(shop_context, now)
    shop_days = reader.load_days(SHOP_SCOPE)
    answer_days = reader.load_days(scenario)
    catalogue = reader.catalogue(version)
    catalogue_size = 0
    if catalogue is not None:
        catalogue_size = len(catalogue)

    reports: list[HealthReport] = []
    last_day = last_full_day(now)
    for day_number in range(last_day - _DAYS_CHECKED + 1, last_day + 1):
        shop_day = _day_of(SHOP_SCOPE, day_number, shop_days)
        answer_day = _day_of(scenario, day_number, answer_days)
        reference = ReferenceWindow(
            version,
            built_at,
            catalogue_size,
            _days_before(day_number, shop_days),
            _days_before(day_number, answer_days),
            reader.training_statistics(scenario, answer_day.version),
        )
        reports.append(monitor(CurrentWindow(scenario, shop_day, answer_day, now), reference))

    new_events = event_queries.last_seq(shop_context.engine) - events_trained_on
    drifted_features = tuple(persistent_drift(reports))
    candidate = _candidate_under_test(shop_context, scenario, now)
    decision = retrain(reports[-1], drifted_features, catalogue_size, new_events, candidate)
    return HealthCheck(reports[-1], find_alerts(reports), decision)


def _candidate_under_test(shop_context: ShopContext, scenario: str, now: float) -> CandidateUnderTest | None:
    """The candidate that a canary tests; None without one. A watched version is the champion itself."""
    running = shop_context.rollouts.running().get(scenario)
    if running is None or running.rollout.is_watch:
        return None
    record = shop_context.registry.get_version(running.rollout.candidate)
    return CandidateUnderTest((now - record.created) / clock.DAY, running.rules.cap_days)


def _day_of(scope: str, day_number: int, days: Sequence[DailyStatistics]) -> DailyStatistics:
    """The statistics of a day; empty ones where there are none."""
    for day in days:
        if day.number == day_number:
            return day
    return DailyStatistics(scope, day_number)


def _days_before(day_number: int, days: Sequence[DailyStatistics]) -> list[DailyStatistics]:
    return [day for day in days if day.number < day_number]
