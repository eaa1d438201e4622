"""The loop that needs nobody: runs from every side, one leader, a clean-up that spares what is needed, alerts sent once."""

import http.server
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from vetrina import Shop
from vetrina.core.errors import BadInput, Conflict, NotFound
from vetrina.core.files import exclusive_lock
from vetrina.core.verdicts import Verdict
from vetrina.data import dataset
from vetrina.operate.alerting import send_alert
from vetrina.operate.controller import Controller
from vetrina.operate.embed_images import ImageEmbedding
from vetrina.operate.retention import clean_up
from vetrina.pipeline.run import Run
from vetrina.reports.cost import cost
from vetrina.simulate.fault_injection import inject_candidate, inject_refresh
from vetrina.store import products
from vetrina.store.leases import Lease
from vetrina.store.tables import alerts, leases


@pytest.fixture
def shop(pristine, tmp_path) -> Iterator[Shop]:
    """A trained shop of its own."""
    copied_shop = Shop(shutil.copytree(pristine[0], tmp_path / "shop"))
    yield copied_shop
    copied_shop.shop_context.engine.dispose()


def alerted(shop: Shop) -> list[str]:
    """What was sent so far."""
    with shop.shop_context.engine.connect() as connection:
        return list(connection.execute(select(alerts.c.text)).scalars())


def turns(operator: Controller, until, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "not within the time"
        operator.tick()
        time.sleep(0.2)


@pytest.fixture
def operator(shop) -> Iterator[Controller]:
    """A controller that looks for what is due only when it is told to."""
    (shop.folder.root / "vetrina.toml").write_text("[operate]\ncheck_interval_minutes = 1e9\n")
    messages: list[str] = []
    controller = Controller(Shop(shop.folder.root).shop_context, messages.append)
    controller._started_at["monitoring"] = time.monotonic()
    controller.said = messages  # type: ignore[attr-defined]
    yield controller
    controller.close()
    controller._shop_context.engine.dispose()


def test_a_run_that_was_asked_for_is_done_and_on_record(shop, operator):
    inject_candidate(shop, "same")  # a release under way holds no run up
    run = shop.shop_context.runs.enqueue("recommend", "a test")
    assert shop.shop_context.runs.enqueue("recommend", "again") == run, "the same wish is the same run"
    turns(operator, lambda: shop.shop_context.runs.get_run(run).state not in ("queued", "running"))
    record = shop.shop_context.runs.get_run(run)
    assert record.state == "done"
    assert record.note == "nothing new to do"
    assert any(f"run {run} trains the next version" in line for line in operator.said)


def test_a_run_cut_off_goes_on_with_whoever_comes_next(shop, operator):
    (shop.folder.root / "more.csv").write_text(
        "timestamp,user_id,type,product_id\n2026-11-01T10:00:00,u001,purchase,p001\n"
    )
    shop.ingest(events=[shop.folder.root / "more.csv"])
    run = shop.shop_context.runs.enqueue("recommend", "new data")
    turns(operator, lambda: len(shop.shop_context.runs.get_run(run).stages) >= 1)
    process = operator._run_processes["recommend"].process
    process.send_signal(signal.SIGKILL)
    process.wait()
    operator._run_processes = {}  # as if the controller had died with it
    assert shop.shop_context.runs.get_run(run).state == "running"
    before = {s.stage for s in shop.shop_context.runs.get_run(run).stages}
    turns(operator, lambda: shop.shop_context.runs.get_run(run).state == "done")
    names = [s.stage for s in shop.shop_context.runs.get_run(run).stages]
    assert len(shop.shop_context.registry.promotions("recommend")) <= 2
    assert before <= set(names)
    assert names.count("gate") == 1


def test_a_cancelled_run_stops_and_can_be_tried_again(shop, operator):
    run = shop.shop_context.runs.enqueue("search", "a test")
    operator.tick()
    shop.shop_context.runs.cancel(run)
    turns(operator, lambda: not operator._run_processes)
    assert shop.shop_context.runs.get_run(run).state == "cancelled"
    with pytest.raises(Conflict):
        shop.shop_context.runs.cancel(run)
    shop.shop_context.runs.retry(run)
    turns(operator, lambda: shop.shop_context.runs.get_run(run).state == "done")
    with pytest.raises(NotFound):
        shop.shop_context.runs.get_run("nothing")


def test_a_run_cancelled_while_a_person_runs_it_releases_nothing(shop, tmp_path, monkeypatch):
    (tmp_path / "more.csv").write_text("timestamp,user_id,type,product_id\n2026-11-01T10:00:00,u001,purchase,p001\n")
    shop.ingest(events=[tmp_path / "more.csv"])
    champion = shop.shop_context.registry.champion("recommend")
    gated = Run.gate_on_holdout

    def cancelled_meanwhile(self, judged):
        verdict = gated(self, judged)
        shop.shop_context.runs.cancel(shop.shop_context.runs.list_runs()[0].id)
        return verdict

    monkeypatch.setattr(Run, "gate_on_holdout", cancelled_meanwhile)
    with pytest.raises(Conflict, match="was cancelled"):
        shop.fit("recommend")
    assert shop.shop_context.registry.champion("recommend") == champion
    assert shop.shop_context.runs.list_runs()[0].state == "cancelled"


def test_a_run_that_fails_says_why_and_what_to_do(shop, operator):
    shutil.rmtree(shop.folder.snapshots)
    shop.folder.snapshots.write_text("not a folder")
    run = shop.shop_context.runs.enqueue("recommend", "a test")
    turns(operator, lambda: alerted(shop))
    assert shop.shop_context.runs.get_run(run).state == "failed"
    assert f"vetrina retry {run}" in alerted(shop)[0]


def test_a_run_waits_while_a_person_is_at_it(shop, operator):
    run = shop.shop_context.runs.enqueue("recommend", "a test")
    with exclusive_lock(shop.folder.root):
        operator.tick()
        turns(operator, lambda: not operator._run_processes)
        assert shop.shop_context.runs.get_run(run).state == "queued"
    operator._busy_until = 0.0
    turns(operator, lambda: shop.shop_context.runs.get_run(run).state == "done")


def test_one_controller_leads_and_another_takes_over(shop, operator):
    other = Controller(Shop(shop.folder.root).shop_context, lambda line: None)  # of this machine, started beside it
    other._lease._holder = "another machine"
    assert operator.tick()
    assert not other.tick()
    first = operator._lease.acquire_or_renew()
    with shop.shop_context.engine.begin() as connection:  # the first one fell silent
        connection.execute(update(leases).values(expires=leases.c.expires - 60))
    assert other._lease.acquire_or_renew() == first + 1, "the fence grows when the lease changes hands"
    assert operator._lease.acquire_or_renew() is None
    other.close()
    other._shop_context.engine.dispose()


def test_a_second_machine_is_refused_where_the_store_cannot_be_shared(shop):
    lease = Lease(shop.shop_context.engine, "operate", "elsewhere-7", 15.0)
    lease.acquire_or_renew()
    with pytest.raises(BadInput, match="move the store to PostgreSQL"):
        Controller(shop.shop_context, lambda line: None)
    lease.release()
    Controller(shop.shop_context, lambda line: None).close()


def test_clean_up_spares_what_serves_served_or_is_among_shoppers(shop):
    champion, _ = shop.shop_context.registry.champion("recommend")
    (shop.folder.root / "vetrina.toml").write_text("[operate]\nkeep_versions = 1\n")
    again = Shop(shop.folder.root)
    for kind in ("worse", "error", "slow", "same"):
        planted = inject_candidate(again, kind)
        if kind != "same":
            again.shop_context.rollouts.abort("recommend")
    everything = {p.name for p in shop.folder.bundles.folder.iterdir()}
    freed = clean_up(again.shop_context)
    left = {p.name for p in shop.folder.bundles.folder.iterdir()}
    assert freed > 0
    assert len(everything - left) == 3, "the three that were taken out are gone"
    for version in (champion, planted, again.shop_context.registry.get_version(champion).judged):
        shop.folder.bundles.unpack(version, check_parts=True)
    run = again.shop_context.runs.enqueue("search", "a test")
    again.shop_context.runs.start(run)
    with pytest.raises(Conflict, match="is not finished"):
        clean_up(again.shop_context)  # a run that was cut off goes on with what no record names yet
    again.shop_context.runs.cancel(run)
    assert again.recommend("u001").items
    assert clean_up(again.shop_context) == 0, "a second time there is nothing left to do"
    again.shop_context.engine.dispose()


def test_a_shop_without_images_embeds_nothing(shop, operator):
    products.append_products(shop.shop_context.engine, [{"product_id": "new", "title": "New", "image": "new.png"}])
    assert ImageEmbedding(operator._shop_context).batch() == 0
    assert operator.tick()
    operator.close()
    assert len(products.changes_after(shop.shop_context.engine, 0)) == 1


def test_a_newer_version_replaces_a_candidate_that_is_not_decided(shop):
    candidate = inject_candidate(shop, "worse")
    release = inject_refresh(shop, "same")
    assert (release.mode, release.outcome, release.kind) == ("offline", "promoted", "refresh")
    rollouts = shop.shop_context.rollouts
    replaced = rollouts.list_rollouts()[0]
    assert (replaced.candidate, replaced.state) == (candidate, "returned")
    assert release.version in rollouts.decision_log(replaced.release)[-1].decision.reasons[0].text
    assert rollouts.running() == {}


def test_a_candidate_that_was_compared_with_another_champion_is_returned(shop):
    """The champion changed between gate and release: what the gate has shown says nothing about what serves now."""
    registry = shop.shop_context.registry
    champion = registry.champion("recommend")
    record = registry.get_version(champion[0])
    bundle, _ = shop.folder.bundles.unpack(record.judged)
    snapshot = dataset.open_snapshot(shop.folder.snapshots, record.snapshot)
    verdict = Verdict("v", bundle.version, "recommend-another", "pass", (), None)
    release = Run(shop.shop_context, snapshot, "recommend").release(bundle, bundle, verdict)
    assert release.outcome == "returned"
    assert f"{champion[0]} serves by now" in release.note
    assert registry.champion("recommend") == champion


def test_alerts_reach_a_webhook_once(shop):
    got: list[dict[str, str]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"json://127.0.0.1:{server.server_port}/"
    (shop.folder.root / "vetrina.toml").write_text(f'[alerts]\nurls = ["{url}"]\n')
    shop_context = Shop(shop.folder.root).shop_context
    assert send_alert(shop_context, "k", "something happened", "look at it")
    assert not send_alert(shop_context, "k", "something happened", "look at it"), (
        "the same alert within the quiet hours"
    )
    assert send_alert(shop_context, "other", "something else", "look there")
    server.shutdown()
    server.server_close()
    shop_context.engine.dispose()
    assert [g["message"] for g in got] == ["something happened. Next: look at it", "something else. Next: look there"]


@pytest.mark.simulation
def test_the_whole_drill(tmp_path: Path):
    """Real processes: better is promoted, worse is rolled back, what fails meets nobody."""
    outcomes = {}
    for kind in ("better", "worse", "error", "slow"):
        command = [sys.executable, "-m", "vetrina.cli", "--json", "--shop-dir", str(tmp_path / "drill")]
        done = subprocess.run(
            [*command, "simulate", "--inject", kind, "--minutes", "4"], capture_output=True, text=True, check=True
        )
        outcomes[kind] = json.loads(done.stdout)["outcome"]
        assert "failed requests: 0" in done.stderr
    assert outcomes == {"better": "promoted", "worse": "rolled back", "error": "rolled back", "slow": "rolled back"}


def test_a_run_that_takes_too_much_memory_goes_on_in_smaller_pieces_until_there_are_none(shop, operator):
    (shop.folder.root / "vetrina.toml").write_text("[operate]\ncheck_interval_minutes = 1e9\nmemory_limit_mb = 20\n")
    greedy = Controller(Shop(shop.folder.root).shop_context, operator.said.append)
    greedy._started_at["monitoring"] = time.monotonic()
    operator.close()
    run = shop.shop_context.runs.enqueue("recommend", "a test")
    turns(greedy, lambda: shop.shop_context.runs.get_run(run).state == "failed")
    assert shop.shop_context.runs.get_run(run).halvings == 3
    assert sum("pieces half as large" in line for line in operator.said) == 3
    assert "20 are allowed even in 8 pieces" in shop.shop_context.runs.get_run(run).note
    assert f"vetrina retry {run}" in alerted(shop)[0]
    greedy.close()
    greedy._shop_context.engine.dispose()


def test_runs_that_nobody_asked_for_wait_for_their_hours(shop, monkeypatch):
    def may_begin(first: float, last: float, hour: int) -> bool:
        (shop.folder.root / "vetrina.toml").write_text(f"[operate]\nstart_between = [{first}, {last}]\n")
        controller = Controller(Shop(shop.folder.root).shop_context, lambda line: None)
        moment = time.mktime((2026, 11, 25, hour, 30, 0, 0, 0, -1))
        answer = controller._is_in_start_hours(moment)
        controller._shop_context.engine.dispose()
        return answer

    assert may_begin(1, 5, 3)
    assert not may_begin(1, 5, 5)
    assert may_begin(22, 4, 23)
    assert may_begin(22, 4, 3)
    assert not may_begin(22, 4, 12)


def test_a_version_knows_what_it_cost(shop):
    version, _ = shop.shop_context.registry.champion("recommend")
    costs = cost(shop.shop_context, version)
    assert 0 < costs.cpu_seconds < 20 * costs.seconds
    assert costs.watt_hours == pytest.approx(costs.cpu_seconds * 3.5 / 3_600)
    assert costs.peak_mb > 100
    assert 0.05 < costs.storage_mb < 500
    with pytest.raises(NotFound):
        cost(shop.shop_context, "recommend-nothing")
