"""Closes the circle: health from the log of the last days, and the decision to train again."""

from dataclasses import dataclass

from vetrina.core import clock
from vetrina.core.health_types import (
    SHOP_SCOPE,
    CurrentWindow,
    DailyStatistics,
    HealthReport,
    ReferenceWindow,
    RetrainDecision,
)
from vetrina.core.types import Reason
from vetrina.monitor import monitor, persistent_drift
from vetrina.monitor.alerts import find_alerts
from vetrina.pipeline.daily_aggregation import DailyStatisticsReader, last_full_day
from vetrina.pipeline.shop_context import ShopContext
from vetrina.retrain import retrain
from vetrina.store import event_log

_DAYS_CHECKED = 3


@dataclass(frozen=True)
class HealthCheck:
    """How a scenario did on the last full day, what is wrong, and whether it should be trained again."""

    health: HealthReport
    alarms: tuple[Reason, ...]
    retrain: RetrainDecision


def check_health(shop_context: ShopContext, scenario: str) -> HealthCheck:
    """From the last three full days (UTC), each beside the eight weeks before it."""
    now = clock.now()
    version = shop_context.champion(scenario)
    known = shop_context.registry.get_version(version) if version else None
    watch = DailyStatisticsReader(shop_context, now)
    last = last_full_day(now)
    shop = watch.load_days(SHOP_SCOPE)
    answers = watch.load_days(scenario)
    shelf = watch.catalogue(version)
    built = known["created"] if known else None
    products = len(shelf) if shelf else 0
    reports: list[HealthReport] = []
    for number in range(last - _DAYS_CHECKED + 1, last + 1):
        window = CurrentWindow(scenario, _day_of(SHOP_SCOPE, number, shop), _day_of(scenario, number, answers), now)
        learnt = watch.training_statistics(scenario, _day_of(scenario, number, answers).version)
        before = ReferenceWindow(
            version, built, products, _days_before(number, shop), _days_before(number, answers), learnt
        )
        reports.append(monitor(window, before))
    logged = known["notes"].get("logged", {}).get("events", 0) if known else 0
    new = event_log.last_seq(shop_context.engine) - logged
    drifted = tuple(persistent_drift(reports))
    return HealthCheck(reports[-1], find_alerts(reports), retrain(reports[-1], drifted, products, new))


def _day_of(scope: str, day_number: int, days: list[DailyStatistics]) -> DailyStatistics:
    return next((d for d in days if d.number == day_number), DailyStatistics(scope, day_number))


def _days_before(day_number: int, days: list[DailyStatistics]) -> list[DailyStatistics]:
    return [d for d in days if d.number < day_number]
