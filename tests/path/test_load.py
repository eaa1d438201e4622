"""Load tests of a shop: requests of its own log, a service on a copy of it, and the command."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vetrina import Shop
from vetrina.cli.main import cli
from vetrina.core import clock
from vetrina.core.errors import BadInput, NotReady
from vetrina.core.exposures import Exposure
from vetrina.core.requests import Request
from vetrina.serve.answers.exposed import logged_request
from vetrina.serve.event_decoding import known_sender, to_event
from vetrina.serve.schemas import EventBody
from vetrina.simulate.load_test import LoadTarget, LoadTest
from vetrina.simulate.process_usage import LocalUsage
from vetrina.simulate.processes import start_command
from vetrina.simulate.request_sample import RequestPool, sample_requests
from vetrina.simulate.shop_copy import copy_of_shop
from vetrina.store.event_log import EventLog
from vetrina.store.exposure_queries import count_exposures_since


@pytest.fixture
def shop(pristine, tmp_path: Path) -> Shop:
    """A copy of the checkerboard shop, released; nobody has asked it anything."""
    return Shop(shutil.copytree(pristine[0], tmp_path / "shop"))


def log_traffic(shop: Shop, rounds: int) -> None:
    """In each round three answers of recommend and one of search, and an event; one is to a user whom nobody knows."""
    keys = shop.folder.keys
    log = EventLog(shop.shop_context.engine, keys)
    user = keys.pseudonymise("u001")
    requests = [
        ("search", user, Request(query="red shoes", limit=5)),
        ("recommend", user, Request()),
        ("recommend", None, Request(product_ids=("p002",), placement="product", limit=7)),
        ("recommend", keys.pseudonymise("nobody"), Request(limit=3)),
    ]
    for number, (scenario, who, request) in enumerate(requests * rounds):
        request_json = logged_request(request, None)
        log.log_exposure(
            Exposure(
                request_id=f"{number:032x}",
                scenario=scenario,
                version="v",
                time=clock.now(),
                arm="champion",
                user=who,
                request_json=request_json,
            )
        )
    event = EventBody("u001", "view", "p003")
    log.add([to_event(event, keys, known_sender()) for _ in range(rounds)]).result(timeout=10)
    log.close()


def bodies(pool: RequestPool) -> list[dict]:
    return [json.loads(body) for body in pool.bodies]


def by_name(pools: tuple[RequestPool, ...]) -> dict[str, RequestPool]:
    return {pool.name: pool for pool in pools}


def test_requests_are_those_of_the_log_under_plain_ids_and_in_its_mix(shop):
    rounds = 100
    log_traffic(shop, rounds)
    pools = by_name(sample_requests(shop, with_events=True))
    assert bodies(pools["search"]) == rounds * [{"query": "red shoes", "limit": 5, "user_id": "u001"}]
    expected = [{"limit": 3}, {"product_ids": ["p002"], "placement": "product", "limit": 7}, {"user_id": "u001"}]
    assert sorted(bodies(pools["recommend"]), key=str) == sorted(rounds * expected, key=str)
    assert bodies(pools["events"]) == rounds * [{"user_id": "u001", "type": "view", "product_id": "p003"}]
    shares = {name: pool.share for name, pool in pools.items()}
    assert shares["recommend"] == pytest.approx(3 * shares["search"])
    assert sum(shares.values()) == pytest.approx(1.0)
    assert "logged answers" in pools["search"].source


def test_a_few_tries_are_no_traffic(shop):
    log_traffic(shop, 1)
    pools = by_name(sample_requests(shop, with_events=True))
    assert "newest events" in pools["recommend"].source
    assert len(pools["events"].bodies) > 100


def test_without_answers_requests_come_from_events_and_without_queries_from_the_catalogue(shop):
    pools = by_name(sample_requests(shop, with_events=True))
    recommend = bodies(pools["recommend"])
    assert {"user_id": "u001"} in recommend
    assert {"product_ids": ["p001"], "placement": "product"} in recommend
    assert {"query": "red shoes number 0"} in bodies(pools["search"])
    assert "catalogue" in pools["search"].source
    assert pools["search"].share == pools["recommend"].share
    assert {"user_id": "u001", "type": "purchase", "product_id": "p001"} in bodies(pools["events"])


def test_a_named_scenario_is_the_only_one_and_must_serve(shop):
    assert [pool.name for pool in sample_requests(shop, ["search"])] == ["search"]
    with pytest.raises(NotReady, match="ads: has no released version yet"):
        sample_requests(shop, ["ads"])
    with pytest.raises(BadInput, match="predict: does not answer with products"):
        sample_requests(shop, ["predict"])


def test_a_service_on_a_copy_is_measured_and_the_shop_gets_nothing_of_it(shop):
    pools = sample_requests(shop, with_events=True)
    with copy_of_shop(shop.folder) as folder:
        service, address = start_command(folder, "serve", "--port", "0")
        try:
            host, _, port = address.removeprefix("http://").partition(":")
            target = LoadTarget(
                (host, int(port)), f"{host}:{port}", "", shop.folder.keys.api_token, LocalUsage(service.pid)
            )
            test = LoadTest(target, pools, step_seconds=1.0, target_ms=60_000.0, report=print)
            step = test.measure(40.0, 1.0)
        finally:
            service.terminate()
            service.wait(timeout=20)
        copied = Shop(folder).shop_context.engine
        answered = sum(count_exposures_since(copied, name, 0.0) for name in ("search", "recommend"))
        copied.dispose()
    assert step.failed == 0
    assert step.keeps_target
    assert set(step.p99_ms_by_kind) == {"search", "recommend", "events"}
    assert step.cpu_ms is not None
    assert step.cpu_ms > 0
    assert 0 < answered < step.requests
    assert count_exposures_since(shop.shop_context.engine, "search", 0.0) == 0
    assert not folder.exists()


def test_a_store_on_a_server_is_not_written_to(shop):
    (shop.folder.root / "vetrina.toml").write_text('[store]\nurl = "postgresql://db.example/shop"\n')
    with (
        pytest.raises(BadInput, match=r"\[store\] url.*name that with --url"),
        copy_of_shop(Shop(shop.folder.root).folder),
    ):
        pass


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://192.0.2.7:8337", "is not on this machine.*--allow-remote"),
        ("http://shop.example", "is not on this machine.*--allow-remote"),
        ("127.0.0.1:8337", "is no address of a service"),
        ("ftp://127.0.0.1", "is no address of a service"),
    ],
)
def test_an_address_that_is_wrong_gets_one_line(tmp_path, url, reason):
    result = CliRunner().invoke(cli, ["--shop-dir", str(tmp_path), "bench", "load", "--url", url])
    assert isinstance(result.exception, BadInput)
    assert "\n" not in str(result.exception)
    with pytest.raises(BadInput, match=reason):
        raise result.exception


def test_a_shop_without_a_version_has_nothing_to_load(tmp_path):
    result = CliRunner().invoke(cli, ["--shop-dir", str(tmp_path), "bench", "load"])
    assert isinstance(result.exception, BadInput)
    assert "has nothing released yet" in str(result.exception)


@pytest.mark.simulation
def test_the_command_finds_a_rate_and_sizes_a_deployment(shop):
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop.folder.root), "--json", "bench", "load"]
    done = subprocess.run(
        [*command, "--step-seconds", "2", "--p99-ms", "1500"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sustained_rate"] >= 4
    assert result["autoscaled"]["rate"] == pytest.approx(0.5 * result["sustained_rate"])
    assert result["fixed"]["rate"] == pytest.approx(0.8 * result["sustained_rate"])
    assert result["sizing"]["cpu_request"] > 0
    assert result["sizing"]["memory_limit_mb"] > result["memory_mb"]
    assert set(result["requests"]) == {"search", "recommend"}


@pytest.mark.simulation
def test_a_service_that_refuses_the_token_or_is_gone_gets_one_line(shop, monkeypatch):
    service, address = start_command(shop.folder.root, "serve", "--port", "0")
    try:
        monkeypatch.setenv("VETRINA_TOKEN", "of another shop")
        result = CliRunner().invoke(cli, ["--shop-dir", str(shop.folder.root), "bench", "load", "--url", address])
    finally:
        service.terminate()
        service.wait(timeout=20)
    assert "refuses the token; set VETRINA_TOKEN" in str(result.exception)
    result = CliRunner().invoke(cli, ["--shop-dir", str(shop.folder.root), "bench", "load", "--url", address])
    assert "does not answer (ConnectError); start it with vetrina serve" in str(result.exception)
