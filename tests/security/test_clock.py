"""A clock that is set back, or that is ahead."""

import time

import msgspec
import pytest

from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.operate.controller import Controller
from vetrina.pipeline.shop_context import ShopContext
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store.event_log import Event, EventLog
from vetrina.store.leases import Lease
from vetrina.store.rollouts import RolloutStore
from vetrina.store.shop_folder import ShopFolder

pytestmark = pytest.mark.security

HOUR = 3_600.0
MIDNIGHT = 1_780_000_000.0 // DAY * DAY
LEASE_SECONDS = 0.05


@pytest.fixture
def set_clock(monkeypatch):
    """Sets the wall clock to a moment."""
    return lambda moment: monkeypatch.setattr(clock, "now", lambda: moment)


def test_a_clock_that_steps_over_midnight_and_back_frees_no_budget(engine, keys, set_clock):
    """S31: what was spent on a day stays spent, wherever the clock was meanwhile."""
    item = LoggedItem(1, "p1", propensity=1.0, ad_id="a1", campaign_id="c1", price=1.0, click_chance=0.1)
    shown = Exposure(
        request_id="r1", scenario="ads", version="v", time=MIDNIGHT + 5, arm="champion", user="alice", items=(item,)
    )
    click = msgspec.json.encode({"type": "ad_click", "product_id": "p1", "request_id": "r1"}).decode()
    set_clock(MIDNIGHT + 6)
    log = EventLog(engine, keys)
    log.log_exposure(shown)
    log.add([Event("e1", "alice", None, MIDNIGHT + 6, click, b"sealed")]).result()
    log.close()
    ledger = StoredSpendLedger(engine)
    spent = []
    for moment in (MIDNIGHT + 10, MIDNIGHT - 5, MIDNIGHT + 20):
        set_clock(moment)
        ledger.refresh({"c1": 10.0})
        spent.append(ledger.daily_spend("c1", moment))
    assert spent[2] == spent[0] == 1.0


class CountedRollouts(RolloutStore):
    """Counts how often somebody asks for the releases under way."""

    checks = 0

    def running(self):
        """As ever."""
        self.checks += 1
        return super().running()


def test_a_clock_set_back_does_not_stop_the_controller(tmp_path, set_clock):
    """S31: releases are checked on time although the clock was set back by hours."""
    (tmp_path / "vetrina.toml").write_text("[operate]\nrelease_check_seconds = 0\ncheck_interval_minutes = 1e9\n")
    shop_context = ShopContext(ShopFolder(tmp_path))
    counted = CountedRollouts(shop_context.engine, shop_context.folder.keys, shop_context.registry)
    shop_context.rollouts = counted
    controller = Controller(shop_context, lambda line: None)
    set_clock(MIDNIGHT + 3 * HOUR)
    controller.tick()
    before = counted.checks
    set_clock(MIDNIGHT)
    controller.tick()
    controller.close()
    shop_context.engine.dispose()
    assert counted.checks > before


def test_a_machine_whose_clock_is_ahead_does_not_keep_the_lease(engine, set_clock):
    """S31: a lease that is not prolonged ends after its seconds, whatever the clock of its holder says."""
    set_clock(time.time() + 2 * HOUR)
    Lease(engine, "operate", "ahead", LEASE_SECONDS).acquire_or_renew()
    set_clock(time.time())
    other = Lease(engine, "operate", "other", LEASE_SECONDS)
    deadline = time.monotonic() + 20 * LEASE_SECONDS
    while other.acquire_or_renew() is None and time.monotonic() < deadline:
        time.sleep(LEASE_SECONDS)
    assert other.holder() == "other"
