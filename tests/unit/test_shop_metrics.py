"""Metrics of the whole shop: what the store says, as numbers with labels."""

from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from sqlalchemy import Engine, update

from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.evaluation_data import Interval
from vetrina.core.health_types import Drift, HealthReport
from vetrina.core.rollout_types import CLICKS, OutcomeStatistics, PreReleaseStatistics, Rollout, RolloutEvidence
from vetrina.core.settings import ReleaseSettings
from vetrina.serve.shop_metrics import ShopMetrics, ShopState, metrics_of
from vetrina.store import monitoring_results
from vetrina.store.database import open_store
from vetrina.store.monitoring_results import ReleaseEffects
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore, RunningRollout
from vetrina.store.runs import RunRecord, RunStore
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import daily_statistics

NOW = 20_000 * DAY
DRIFT = {"price": Drift(0.5, 0.001, True), "time": Drift(0.0, 0.9, False)}


@pytest.fixture
def folder(tmp_path) -> ShopFolder:
    return ShopFolder(tmp_path)


@pytest.fixture
def engine(folder) -> Iterator[Engine]:
    opened = open_store(folder.store_url, folder.keys)
    yield opened
    opened.dispose()


class Shown(Collector):
    """A state, as a scrape shows it."""

    def __init__(self, state: ShopState) -> None:
        self._state = state

    def collect(self) -> Iterable:
        return metrics_of(self._state, NOW)


def shown(state: ShopState) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Shown(state))
    return registry


def health(scenario: str = "search") -> HealthReport:
    """A report of a day of 200 answers."""
    loss = Interval(0.1, 0.05, 0.15)
    return HealthReport(scenario, "s1", 19_999, 500, 200, 50, 100, 0, 3.0, DRIFT, {}, loss, None, 0.25, None, None)


def running() -> RunningRollout:
    """A canary of two days, of which half a day has passed."""
    rollout = Rollout("r1", "search", "s2", "s1", "salt", NOW - DAY / 2, NOW - DAY / 2, (0.1, 0.5), step=1)
    evidence = RolloutEvidence(NOW, {CLICKS: OutcomeStatistics(units=(90, 10))})
    return RunningRollout(rollout, PreReleaseStatistics(), evidence, ReleaseSettings(cap_days=2.0))


def run(state: str, started: float | None, ended: float | None) -> RunRecord:
    return RunRecord(state, "search", state, 0, NOW, started, ended, 1, 0, "test", None)


def test_a_running_release():
    effects = {"search": ReleaseEffects("r1", {CLICKS: Interval(0.02, -0.01, 0.05)})}
    registry = shown(ShopState(rollouts={"search": running()}, effects=effects))
    labels = {"scenario": "search", "release": "r1", "kind": "canary", "newer": "s2", "other": "s1"}
    assert registry.get_sample_value("vetrina_release_step", labels) == 1
    assert registry.get_sample_value("vetrina_release_days_left", {"scenario": "search"}) == pytest.approx(1.5)
    assert registry.get_sample_value("vetrina_release_units", {"scenario": "search", "arm": "newer"}) == 10
    bounds = {"lower": -0.01, "estimate": 0.02, "upper": 0.05}
    for bound, value in bounds.items():
        bound_labels = {"scenario": "search", "outcome": CLICKS, "bound": bound}
        assert registry.get_sample_value("vetrina_release_effect", bound_labels) == value


def test_effects_of_an_earlier_release_are_not_shown():
    effects = {"search": ReleaseEffects("r0", {CLICKS: Interval(0.02, -0.01, 0.05)})}
    registry = shown(ShopState(rollouts={"search": running()}, effects=effects))
    labels = {"scenario": "search", "outcome": CLICKS, "bound": "estimate"}
    assert registry.get_sample_value("vetrina_release_effect", labels) is None


def test_health_and_runs():
    last_runs = [(run("failed", NOW - 90, NOW - 30), 512.0)]
    registry = shown(
        ShopState(health={"search": health()}, unfinished=[run("queued", None, None)], last_runs=last_runs)
    )
    search = {"scenario": "search"}
    assert registry.get_sample_value("vetrina_drifted_features", search) == 1
    assert registry.get_sample_value("vetrina_compared_features", search) == 2
    assert registry.get_sample_value("vetrina_clicked_share", search) == 0.25
    assert registry.get_sample_value("vetrina_click_loss", {**search, "bound": "upper"}) == 0.15
    assert registry.get_sample_value("vetrina_calibration", {**search, "bound": "upper"}) is None
    assert registry.get_sample_value("vetrina_unfinished_runs", {"state": "queued"}) == 1
    assert registry.get_sample_value("vetrina_unfinished_runs", {"state": "running"}) == 0
    assert registry.get_sample_value("vetrina_last_run_seconds", search) == 60
    assert registry.get_sample_value("vetrina_last_run_peak_memory_bytes", search) == 512e6
    assert registry.get_sample_value("vetrina_last_run_failed", search) == 1


def test_the_newest_results_of_the_controller_are_read_from_the_store(folder, engine, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    registry = Registry(engine, folder.keys)
    metrics = ShopMetrics(engine, registry, RolloutStore(engine, folder.keys, registry), RunStore(engine))
    exposition = CollectorRegistry()
    exposition.register(metrics)
    assert exposition.get_sample_value("vetrina_drifted_features", {"scenario": "search"}) is None
    monitoring_results.save_health(engine, health())
    monitoring_results.save_health(engine, health())  # replaces it
    metrics.refresh()
    assert exposition.get_sample_value("vetrina_drifted_features", {"scenario": "search"}) == 1


def test_a_result_of_another_version_of_vetrina_is_left_out(engine):
    monitoring_results.save_health(engine, health("search"))
    monitoring_results.save_health(engine, health("recommend"))
    monitoring_results.save_effects(engine, "search", ReleaseEffects("r1", {}))
    with engine.begin() as connection:
        is_search = daily_statistics.c.part == "health:search"
        connection.execute(update(daily_statistics).where(is_search).values(body='{"scenario": "search"}'))
    assert monitoring_results.load_health(engine) == {"recommend": health("recommend")}
    assert monitoring_results.load_effects(engine) == {"search": ReleaseEffects("r1", {})}
