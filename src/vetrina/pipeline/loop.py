"""Closes the circle: logged events back into the lake, health, and the decision to train again."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import msgspec

from vetrina.core import clock
from vetrina.core.types import HealthReport, RetrainDecision, Snapshot, Source
from vetrina.monitor import monitor
from vetrina.pipeline.compose import Workshop
from vetrina.retrain import retrain
from vetrina.store import eventlog

WINDOW_DAYS = 1.0


def bring_home(workshop: Workshop) -> Snapshot:
    """Take the events that the service logged into the lake. Repeating it changes nothing: ids count once."""
    logged, _ = eventlog.window(workshop.engine, 0.0, clock.now() + 3 * clock.DAY)
    if not logged:
        return workshop.ingest(Source())
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "logged.jsonl"
        rows = [
            {
                "timestamp": e["time"],
                "user_id": e["user"],
                **{k: v for k, v in e.items() if k not in ("time", "user")},
            }
            for e in logged
        ]
        file.write_bytes(b"\n".join(msgspec.json.encode(r) for r in rows))
        return workshop.ingest_logged(file)


def health(workshop: Workshop, scenario: str, days: float = WINDOW_DAYS) -> HealthReport:
    """How the last days of a scenario look."""
    until = clock.now()
    version, _ = workshop.registry.champion(scenario)
    known = workshop.registry.show(version) if version else None
    events, shown = eventlog.window(workshop.engine, until - days * clock.DAY, until)
    baseline = known["notes"].get("baseline", {}) if known else {}
    built = known["created"] if known else None
    return monitor(scenario, version, events, shown, baseline, until - days * clock.DAY, until, built)


def decide(workshop: Workshop, scenario: str) -> RetrainDecision:
    """Whether to train again, from the last three windows."""
    report = health(workshop, scenario)
    known = workshop.registry.show(report.version) if report.version else None
    products = len(known["notes"].get("baseline", {}).get("product", {})) if known else 0
    return retrain(report, (), products, eventlog.count(workshop.engine))


def as_record(report: HealthReport | RetrainDecision) -> dict[str, object]:
    """For printing."""
    return asdict(report)
