"""Closes the circle: health from the log of the last days, and the decision to train again."""

from dataclasses import dataclass

from vetrina.core import clock
from vetrina.core.health import SHOP, Baseline, Day, HealthReport, RetrainDecision, Window
from vetrina.core.types import Reason
from vetrina.monitor import monitor, persistent
from vetrina.monitor.alarms import alarms
from vetrina.pipeline.watch import Watch, last_full_day
from vetrina.pipeline.workshop import Workshop
from vetrina.retrain import retrain
from vetrina.store import eventlog

_WINDOWS = 3


@dataclass(frozen=True)
class Look:
    """How a scenario did on the last full day, what is wrong, and whether it should be trained again."""

    health: HealthReport
    alarms: tuple[Reason, ...]
    retrain: RetrainDecision


def look(workshop: Workshop, scenario: str) -> Look:
    """From the last three full days (UTC), each beside the eight weeks before it."""
    now = clock.now()
    version = workshop.champion(scenario)
    known = workshop.registry.show(version) if version else None
    watch, last = Watch(workshop, now), last_full_day(now)
    shop, answers = watch.catch_up(SHOP), watch.catch_up(scenario)
    shelf = watch.shelf(version)
    built, products = (known["created"] if known else None), len(shelf) if shelf else 0
    reports: list[HealthReport] = []
    for number in range(last - _WINDOWS + 1, last + 1):
        window = Window(scenario, _of(SHOP, number, shop), _of(scenario, number, answers), now)
        learnt = watch.learnt(scenario, _of(scenario, number, answers).version)
        before = Baseline(version, built, products, _until(number, shop), _until(number, answers), learnt)
        reports.append(monitor(window, before))
    logged = known["notes"].get("logged", {}).get("events", 0) if known else 0
    new = eventlog.last(workshop.engine) - logged
    drifted = tuple(persistent(reports))
    return Look(reports[-1], alarms(reports), retrain(reports[-1], drifted, products, new))


def _of(part: str, number: int, found: list[Day]) -> Day:
    return next((d for d in found if d.number == number), Day(part, number))


def _until(number: int, found: list[Day]) -> list[Day]:
    return [d for d in found if d.number < number]
