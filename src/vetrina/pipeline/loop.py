"""Closes the circle: health from the logs of the last days, and the decision to train again."""

from dataclasses import dataclass

from vetrina.core import clock
from vetrina.core.types import Baseline, HealthReport, RetrainDecision, Window
from vetrina.monitor import clicked, monitor
from vetrina.pipeline.workshop import Workshop
from vetrina.retrain import retrain
from vetrina.retrieval.shelf import Shelf
from vetrina.store import eventlog

_WINDOWS, _DAYS_BEFORE = 3, 7


@dataclass(frozen=True)
class Look:
    """How a scenario did in the last day, and whether it should be trained again."""

    health: HealthReport
    retrain: RetrainDecision


def look(workshop: Workshop, scenario: str) -> Look:
    """From the last three days, each against training and against the week before it."""
    now = clock.now()
    version, _ = workshop.registry.champion(scenario)
    known = workshop.registry.show(version) if version else None
    notes = known["notes"] if known else {}
    shelf = _shelf(workshop, version)
    reports: list[HealthReport] = []
    for days_ago in reversed(range(_WINDOWS)):
        until = now - days_ago * clock.DAY
        window = _window(workshop, scenario, until - clock.DAY, until)
        before = _window(workshop, scenario, until - (1 + _DAYS_BEFORE) * clock.DAY, until - clock.DAY)
        baseline = Baseline(
            version,
            known["created"] if known else None,
            notes.get("types", {}),
            _known(shelf, window),
            len(before.exposures),
            clicked(before),
        )
        reports.append(monitor(window, baseline))
    new = eventlog.last(workshop.engine) - notes.get("logged", {}).get("events", 0)
    return Look(reports[-1], retrain(reports[-1], reports[:-1], len(shelf) if shelf else 0, new))


def _shelf(workshop: Workshop, version: str | None) -> Shelf | None:
    folder = workshop.open_version(version) / "shelf" if version else None
    return Shelf(folder) if folder and folder.exists() else None


def _known(shelf: Shelf | None, window: Window) -> frozenset[str]:
    """Those products of the window that the version was trained on."""
    seen = [e["product_id"] for e in window.events if e.get("product_id")]
    if shelf is None or not seen:
        return frozenset(seen)
    return frozenset(p for p, at in zip(seen, shelf.index_of(seen), strict=True) if at >= 0)


def _window(workshop: Workshop, scenario: str, since: float, until: float) -> Window:
    events = eventlog.happened(workshop.engine, since, until)
    return Window(scenario, since, until, events, eventlog.shown(workshop.engine, scenario, since, until, items=True))
