"""The controller: whatever one job, one release or the store raises, all else goes on and somebody is told."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from vetrina.core.rollout_types import PreReleaseStatistics, Rollout, RolloutEvidence
from vetrina.core.settings import ReleaseSettings
from vetrina.operate import controller as controller_module
from vetrina.operate.controller import Controller, operate
from vetrina.pipeline.shop_context import ShopContext
from vetrina.serve.live_state import ControllerHeartbeat
from vetrina.store import alert_log
from vetrina.store.leases import CONTROLLER_LEASE, Lease
from vetrina.store.rollouts import NewRollout, RunningRollout
from vetrina.store.shop_folder import ShopFolder

pytestmark = pytest.mark.security

SECRET = "user 4711"


class Clock:
    """The monotonic clock of a test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The monotonic clock of the controller."""
    fake_clock = Clock()
    monkeypatch.setattr(time, "monotonic", fake_clock)
    return fake_clock


@pytest.fixture
def shop_context(tmp_path) -> Iterator[ShopContext]:
    """A shop in which nothing is due but releases, at every turn."""
    (tmp_path / "vetrina.toml").write_text("[operate]\nrelease_check_seconds = 0\ncheck_interval_minutes = 1e9\n")
    context = ShopContext(ShopFolder(tmp_path))
    yield context
    context.engine.dispose()


def start_release(shop_context: ShopContext, scenario: str) -> None:
    began = time.time()
    rollout = Rollout(scenario, scenario, "candidate", "champion", "salt", began, began, (0.5,))
    running = RunningRollout(rollout, PreReleaseStatistics(), RolloutEvidence(began), ReleaseSettings())
    shop_context.rollouts.start(NewRollout(running, {}))


def test_a_release_that_cannot_be_decided_stops_no_other_and_raises_an_alert(shop_context, clock, monkeypatch):
    """S22: every release is decided on its own; one that keeps failing is tried again later and reported."""
    for scenario in ("recommend", "search"):
        start_release(shop_context, scenario)
    checked: list[str] = []
    decide = controller_module.reconcile_rollout

    def decide_or_fail(shop_context: ShopContext, running: RunningRollout, now: float) -> Any:
        checked.append(running.rollout.scenario)
        if running.rollout.scenario == "recommend":
            raise msgspec.ValidationError(SECRET)
        return decide(shop_context, running, now)

    monkeypatch.setattr(controller_module, "reconcile_rollout", decide_or_fail)
    controller = Controller(shop_context, lambda line: None)
    controller.tick()
    controller.tick()
    assert checked == ["recommend", "search"], (
        "the one that failed waits; the other one was ended, its champion does not serve"
    )
    for _ in range(2):
        clock.now += 60.0
        controller.tick()
    controller.close()
    assert checked.count("recommend") == 3
    alerts = "\n".join(alert_log.sent_alerts(shop_context.engine))
    assert "release recommend failed 3 times in a row" in alerts
    assert SECRET not in alerts


def test_a_release_that_cannot_be_read_raises_an_alert(shop_context):
    """S2: the champion serves on, and somebody is told how to end the release."""
    start_release(shop_context, "recommend")
    running = shop_context.rollouts.running()["recommend"]
    body = msgspec.json.encode(replace(running, rollout=replace(running.rollout, started=0.0))).decode()
    with shop_context.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE rollouts SET body = ?", (body.replace('"revenue_cap":0.0', '"revenue_cap":null'),)
        )
    controller = Controller(shop_context, lambda line: None)
    controller.tick()
    controller.close()
    (alert,) = alert_log.sent_alerts(shop_context.engine)
    assert "cannot be read" in alert
    assert "vetrina rollback recommend" in alert


def test_nothing_that_a_turn_raises_ends_the_controller(shop_context, monkeypatch):
    """S22: not even what nobody has thought of."""
    stop = threading.Event()
    errors = iter([RuntimeError(SECRET), OperationalError(SECRET, {}, Exception()), KeyError(SECRET)])
    turns: list[bool] = []

    def tick(controller: Controller) -> bool:
        error = next(errors, None)
        if error is not None:
            raise error
        turns.append(True)
        stop.set()
        return True

    monkeypatch.setattr(Controller, "tick", tick)
    monkeypatch.setattr(stop, "wait", lambda seconds: None)
    operate(shop_context, lambda line: None, stop)
    assert turns == [True]


def test_a_controller_that_falls_silent_is_noticed(shop_context, clock):
    """S22: workers see its lease renewed, whatever the clocks of the machines say."""
    heartbeat = ControllerHeartbeat(shop_context.engine)
    lease = Lease(shop_context.engine, CONTROLLER_LEASE, "a controller", 15.0)
    for _ in range(3):
        lease.acquire_or_renew()
        clock.now += 60.0
        heartbeat.refresh()
        assert heartbeat.silent_seconds == 0.0
    clock.now += 600.0
    heartbeat.refresh()
    assert heartbeat.silent_seconds == 600.0
