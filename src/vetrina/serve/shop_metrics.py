"""Prometheus metrics of the whole shop, read from the store: events, releases, health of the scenarios, runs, versions.

Every worker shows the same values, so dashboards and alerts take the largest one. They are read now and then by a thread that
follows the store; a scrape only shows what was read last.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.evaluation_data import Interval
from vetrina.core.health_types import HealthReport
from vetrina.store import event_queries, monitoring_results
from vetrina.store.monitoring_results import ReleaseEffects
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore, RunningRollout
from vetrina.store.runs import RunRecord, RunStore

_READ_SECONDS = 15.0  # between two readings of the store
_RUN_STATES = ("queued", "running")
_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class ShopState:
    """What the store says about a shop at a moment.

    Attributes:
        last_event: When the last event arrived, in seconds since 1970; None before the first.
        champions_created: When each champion was made, by scenario and version.
        rollouts: Running releases by scenario.
        effects: Newest effects of a release by scenario.
        health: Newest health reports by scenario.
        unfinished: Queued and running runs.
        last_runs: The run of each scenario that ended last, with its peak memory in MB.
    """

    last_event: float | None = None
    champions_created: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    rollouts: Mapping[str, RunningRollout] = field(default_factory=dict[str, RunningRollout])
    effects: Mapping[str, ReleaseEffects] = field(default_factory=dict[str, ReleaseEffects])
    health: Mapping[str, HealthReport] = field(default_factory=dict[str, HealthReport])
    unfinished: Sequence[RunRecord] = ()
    last_runs: Sequence[tuple[RunRecord, float]] = ()


class ShopMetrics(Collector):
    """Metrics of a shop as it was when the store was read last.

    Args:
        engine: the store.
        registry: versions and champions.
        rollouts: running releases.
        runs: queued, running and ended runs.
    """

    def __init__(self, engine: Engine, registry: Registry, rollouts: RolloutStore, runs: RunStore) -> None:
        self._engine = engine
        self._registry = registry
        self._rollouts = rollouts
        self._runs = runs
        self._state = ShopState()
        self._read_at: float | None = None

    def refresh(self) -> None:
        """Read the store, every 15 seconds."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < _READ_SECONDS:
            return
        self._state = ShopState(
            last_event=event_queries.last_arrival(self._engine),
            champions_created=self._registry.champions_created(),
            rollouts=self._rollouts.running(),
            effects=monitoring_results.load_effects(self._engine),
            health=monitoring_results.load_health(self._engine),
            unfinished=self._runs.list_unfinished(),
            last_runs=self._last_runs(),
        )
        self._read_at = now  # last: what could not be read is tried again at once

    def _last_runs(self) -> list[tuple[RunRecord, float]]:
        newest: dict[str, RunRecord] = {}
        for run in self._runs.list_runs():
            if run.seconds is not None:
                newest.setdefault(run.scenario, run)
        last_runs: list[tuple[RunRecord, float]] = []
        for run in newest.values():
            stages = self._runs.get_run(run.id).stages
            last_runs.append((run, max((stage.peak_mb for stage in stages), default=0.0)))
        return last_runs

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metrics, without values."""
        return metrics_of(ShopState(), 0.0)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The metrics, for a scrape."""
        return metrics_of(self._state, clock.now())


def metrics_of(state: ShopState, now: float) -> list[GaugeMetricFamily]:
    """The state of a shop as metrics.

    Args:
        state: what the store says.
        now: seconds since 1970.
    """
    last_event = GaugeMetricFamily(
        "vetrina_last_event_timestamp_seconds", "When the shop's last event arrived, in seconds since 1970"
    )
    if state.last_event is not None:
        last_event.add_metric((), state.last_event)
    return [
        last_event,
        _champions(state.champions_created),
        *_releases(state.rollouts, state.effects, now),
        *_health(state.health),
        *_runs(state.unfinished, state.last_runs),
    ]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _champions(created: Mapping[tuple[str, str], float]) -> GaugeMetricFamily:
    family = _gauge(
        "vetrina_champion_created_timestamp_seconds",
        "When the champion of a scenario was made, in seconds since 1970",
        "scenario",
        "version",
    )
    for labels, seconds in created.items():
        family.add_metric(labels, seconds)
    return family


def _releases(
    rollouts: Mapping[str, RunningRollout], effects: Mapping[str, ReleaseEffects], now: float
) -> list[GaugeMetricFamily]:
    step = _gauge(
        "vetrina_release_step",
        "Step of a running release: -2 shadow, -1 interleaving, then 0, 1, ... for its growing shares of users",
        "scenario",
        "release",
        "kind",
        "newer",
        "other",
    )
    days_left = _gauge("vetrina_release_days_left", "Days until a running release ends undecided", "scenario")
    units = _gauge(
        "vetrina_release_units", "Users and sessions whose outcomes a release has counted", "scenario", "arm"
    )
    effect = _gauge(
        "vetrina_release_effect",
        "Relative difference of an outcome between the newer and the other version, and its anytime-valid interval",
        "scenario",
        "outcome",
        "bound",
    )
    for scenario, running in rollouts.items():
        rollout = running.rollout
        step.add_metric((scenario, rollout.id, rollout.kind, rollout.candidate, rollout.champion), rollout.step)
        ends = rollout.started + running.rules.cap_days * DAY
        days_left.add_metric((scenario,), max(0.0, ends - now) / DAY)
        counted = running.seen.outcomes.get(running.rules.primary_metric)
        if counted is not None:
            units.add_metric((scenario, "other"), counted.units[0])
            units.add_metric((scenario, "newer"), counted.units[1])
        shown = effects.get(scenario)
        if shown is not None and shown.rollout == rollout.id:
            for outcome, interval in shown.effects.items():
                _add_interval(effect, (scenario, outcome), interval)
    return [step, days_left, units, effect]


def _health(reports: Mapping[str, HealthReport]) -> list[GaugeMetricFamily]:
    day = _gauge(
        "vetrina_health_day_timestamp_seconds",
        "Beginning of the day (UTC) that a scenario's health is about",
        "scenario",
    )
    compared = _gauge("vetrina_compared_features", "Features that were compared with earlier days", "scenario")
    drifted = _gauge("vetrina_drifted_features", "Features of which drift was found", "scenario")
    clicked = _gauge("vetrina_clicked_share", "Share of the day's answers with a click", "scenario")
    loss = _gauge(
        "vetrina_click_loss", "Relative loss of clicks beside earlier days, with its interval", "scenario", "bound"
    )
    calibration = _gauge(
        "vetrina_calibration", "Observed over predicted clicks, with its interval", "scenario", "bound"
    )
    overlap = _gauge(
        "vetrina_replay_overlap",
        "Share of the products of logged answers that a second computation gives, too",
        "scenario",
    )
    coverage = _gauge("vetrina_catalogue_coverage", "Share of the catalogue that was shown on the day", "scenario")
    for scenario, report in reports.items():
        day.add_metric((scenario,), report.day * DAY)
        compared.add_metric((scenario,), len(report.drift))
        drifted.add_metric((scenario,), sum(feature.drifted for feature in report.drift.values()))
        if report.answers:
            clicked.add_metric((scenario,), report.clicked / report.answers)
        if report.estimated_loss is not None:
            _add_interval(loss, (scenario,), report.estimated_loss)
        if report.calibration is not None:
            _add_interval(calibration, (scenario,), report.calibration)
        if report.replay_overlap is not None:
            overlap.add_metric((scenario,), report.replay_overlap)
        if report.coverage is not None:
            coverage.add_metric((scenario,), report.coverage)
    return [day, compared, drifted, clicked, loss, calibration, overlap, coverage]


def _runs(unfinished: Sequence[RunRecord], last_runs: Sequence[tuple[RunRecord, float]]) -> list[GaugeMetricFamily]:
    count = _gauge("vetrina_unfinished_runs", "Runs that wait or are under way", "state")
    seconds = _gauge("vetrina_last_run_seconds", "Wall time of a scenario's last run", "scenario")
    peak = _gauge("vetrina_last_run_peak_memory_bytes", "Peak memory of a scenario's last run", "scenario")
    failed = _gauge("vetrina_last_run_failed", "1 where a scenario's last run failed", "scenario")
    for state in _RUN_STATES:
        count.add_metric((state,), sum(run.state == state for run in unfinished))
    for run, peak_mb in last_runs:
        seconds.add_metric((run.scenario,), run.seconds or 0.0)
        peak.add_metric((run.scenario,), peak_mb * _BYTES_PER_MB)
        failed.add_metric((run.scenario,), float(run.state == "failed"))
    return [count, seconds, peak, failed]


def _add_interval(family: GaugeMetricFamily, labels: tuple[str, ...], interval: Interval) -> None:
    family.add_metric((*labels, "lower"), interval.low)
    family.add_metric((*labels, "estimate"), interval.point)
    family.add_metric((*labels, "upper"), interval.high)
