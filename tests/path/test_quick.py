"""The quick recipe: what serves first, how the full one follows it, and what the service says meanwhile."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import shops

from vetrina import Shop
from vetrina.core.errors import BadInput, Conflict
from vetrina.core.files import exclusive_lock
from vetrina.pipeline.run_execution import execute_run
from vetrina.serve.readiness import MAX_PARALLEL_RUNS, expected_ends, quick_order
from vetrina.simulate.processes import start_command
from vetrina.store.runs import PRIORITY_MANUAL

SECONDS = 240  # no machine is so slow


@pytest.fixture(scope="module")
def ingested(built_once) -> Path:
    """A shop with products and purchases, nothing released."""

    def fill(folder: Path) -> None:
        files = shops.checkerboard(folder)
        shop = Shop(shops.without_networks(folder / "shop"))
        shop.ingest(products=[files["products"]], events=[files["events"]])
        shop.shop_context.engine.dispose()

    return built_once("ingested", fill) / "shop"


@pytest.fixture
def shop(ingested, tmp_path) -> Shop:
    return Shop(shutil.copytree(ingested, tmp_path / "shop"))


@pytest.fixture(scope="module")
def quickly(ingested, tmp_path_factory) -> Shop:
    """A shop whose quick versions serve, with the full runs still queued."""
    opened = Shop(shutil.copytree(ingested, tmp_path_factory.mktemp("quick") / "shop"))
    for scenario in ("search", "recommend"):
        run_id = opened.shop_context.runs.enqueue(scenario, "test", PRIORITY_MANUAL)
        release = execute_run(opened.shop_context, run_id)
        assert release is not None
        assert release.is_quick
    return opened


def test_the_quick_version_has_counts_and_words_only(quickly):
    for scenario, models in (("search", {"bm25", "popular"}), ("recommend", {"popular", "repeat", "item_knn"})):
        record = quickly.shop_context.registry.get_version(quickly.champion(scenario))
        assert set(record.training.models) <= models
        assert record.training.is_quick is True
        assert record.training.kept_variants == {}, "nothing is compressed"


def test_it_answers_as_the_data_say(quickly):
    assert "blue lamp" in quickly.search("blue lamp", limit=1).items[0].title
    liked = quickly.recommend("u001", limit=5).items
    assert {int(item.product_id[1:]) % 2 for item in liked} == {1}, "an odd user takes odd products"


def test_repeats_are_recommended_where_users_repeat(quickly):
    record = quickly.shop_context.registry.get_version(quickly.champion("recommend"))
    assert record.training.tuning.options["exclude_seen"] is False


def test_the_full_recipe_is_queued_with_the_end_of_the_quick_one(quickly):
    queued = quickly.shop_context.runs.list_unfinished()
    assert {run.scenario for run in queued} == {"search", "recommend"}
    assert all("full recipe" in run.why for run in queued)


def test_the_full_recipe_replaces_it_by_the_gate_alone(quickly, tmp_path):
    shop = Shop(shutil.copytree(quickly.folder.root, tmp_path / "shop"))
    quick = shop.champion("recommend")
    with _serving(shop.folder.root) as address:
        for _ in range(50):  # answers meanwhile start no test on users
            answer = httpx.post(f"{address}/v1/recommend", json={"user_id": "u001"}, timeout=SECONDS).json()
            assert answer["version"] == quick
    (run_id,) = [run.id for run in shop.shop_context.runs.list_unfinished() if run.scenario == "recommend"]
    release = execute_run(shop.shop_context, run_id)
    assert release is not None
    assert (release.outcome, release.is_quick) == ("promoted", False)
    assert "not tested live" in release.note
    assert shop.champion("recommend") == release.version != quick
    served = shop.shop_context.registry.get_version(release.version)
    assert "popular" in served.training.models, "it orders equals, whatever its weight"
    assert shop.fit("recommend", quick=True)["recommend"] is None, "nothing is new, and the quick recipe is over"


def test_what_has_no_quick_recipe_says_when_it_will_be_ready(quickly, tmp_path):
    folder = shutil.copytree(quickly.folder.root, tmp_path / "shop")
    with _serving(folder) as address:
        refused = httpx.post(f"{address}/v1/ads", json={"user_id": "u001"}, timeout=SECONDS)
        assert refused.status_code == 503
        assert "retry-after" not in refused.headers, "no run is queued"
        Shop(folder).shop_context.runs.enqueue("ads", "test")
        refused = httpx.post(f"{address}/v1/ads", json={"user_id": "u001"}, timeout=SECONDS)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "ready at about" in refused.json()["error"]


def test_up_serves_a_shop_that_nothing_was_trained_for(ingested, tmp_path):
    folder = shutil.copytree(ingested, tmp_path / "shop")
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "up", "--port", "0"]
    log = tmp_path / "up.log"
    with log.open("w") as file:
        up = subprocess.Popen(command, stderr=file)
    try:
        deadline = time.monotonic() + SECONDS
        while (started := re.search(r"listening on (\S+)\n", log.read_text())) is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        address = started.group(1)
        answer = httpx.Response(503)
        while answer.status_code == 503 and time.monotonic() < deadline:
            answer = httpx.post(f"{address}/v1/search", json={"query": "blue lamp"}, timeout=SECONDS)
            time.sleep(0.1)
        assert "blue lamp" in answer.json()["items"][0]["title"]
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=SECONDS)
    assert up.returncode == 0


def test_up_without_data_is_refused(tmp_path):
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(tmp_path), "up"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "holds no data yet; vetrina ingest" in done.stderr


def test_runs_of_two_scenarios_go_side_by_side_and_two_of_one_do_not(shop):
    search = shop.shop_context.runs.enqueue("search", "test")
    recommend = shop.shop_context.runs.enqueue("recommend", "test")
    shop.shop_context.quick = True
    with exclusive_lock(shop.folder.work / "recommend"):  # as a run of it in another process does
        assert execute_run(shop.shop_context, search) is not None
        with pytest.raises(Conflict, match="another vetrina process"):
            execute_run(shop.shop_context, recommend)


def test_what_serves_soonest_is_trained_first():
    order = sorted(("ads", "launch", "predict", "recommend", "search"), key=quick_order)
    assert order[0] == "search"
    assert set(order[3:]) == {"ads", "launch"}


def test_more_runs_than_slots_are_ready_later(quickly, tmp_path):
    runs = Shop(shutil.copytree(quickly.folder.root, tmp_path / "shop")).shop_context.runs
    for scenario in ("ads", "launch"):
        runs.enqueue(scenario, "test")
    ends = expected_ends(runs, {"search", "recommend"}, budget_seconds=600.0)
    first = [ends["search"], ends["recommend"]]
    assert len(first) == MAX_PARALLEL_RUNS
    assert min(ends["ads"], ends["launch"]) > max(first)


def test_an_unknown_scenario_is_refused_as_ever(shop):
    with pytest.raises(BadInput, match="not one of the scenarios"):
        shop.fit("nonsense", quick=True)


class _serving:
    """The service of a shop as a real process; its address."""

    def __init__(self, folder: Path) -> None:
        self._process, self._address = start_command(folder, "serve", "--port", "0")

    def __enter__(self) -> str:
        return self._address

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=SECONDS)
