"""A simulated day in a real Prometheus: every expression of the dashboard and of the alerts returns data; logs are ECS.

The day until two hours ago and nine days before it pass in two minutes: simulated users visit the application, whose clock is
moved on, and things go wrong at known hours. Its metrics, read every simulated minute, become blocks of Prometheus. Then service
and controller run as processes, Prometheus scrapes them, and their logs are read.
"""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import shops
import yaml
from litestar.testing import TestClient
from servers import free_port

from vetrina import Shop
from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.pipeline.rollout_controller import reconcile_rollout
from vetrina.serve import shop_metrics
from vetrina.serve.app import create_app
from vetrina.simulate.fault_injection import inject_candidate, inject_refresh
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "vetrina.json"
RULES = ROOT / "deploy" / "prometheus" / "vetrina.rules.yml"
ECS = json.loads((ROOT / "tests" / "fixtures" / "ecs-8.11.json").read_text())["fields"]
FILEBEAT = yaml.safe_load((ROOT / "deploy" / "filebeat" / "filebeat.yml").read_text())
HOUR = 3_600.0
MINUTE = 60.0
DAYS_BEFORE = 9
VISITS_A_DAY = 400  # of the days before
VISITS_A_MINUTE = 2  # of the day
SETTINGS = """
[log]
format = "json"
[train]
exclude_models = ["sasrec", "gru", "mlp", "dcn"]
[operate]
price_per_cpu_hour = 0.04
release_check_seconds = 1
start_between = [0, 0]
[release]
steps = [0.2, 0.5]
min_step_minutes = 30
attribution_window_minutes = 10
cap_days = 3
holdback_share = 0.5
min_shadow_answers = 20
interleaving_share = 0
min_step_units = 20
min_units_per_arm = 30
min_active_units_per_arm = 5
candidate_timeout_ms = 120
"""
# Alerts whose fault is injected, so that the whole expression returns data; of the others at least each side of it does.
INJECTED = {
    "VetrinaFeedDead",
    "VetrinaErrors",
    "VetrinaCandidateFails",
    "VetrinaDown",
}


@dataclass
class Monitored:
    """What the tests ask."""

    prometheus: str
    start: float
    end: float
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Clock:
    """Time that the test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Samples:
    """Metrics that were read at simulated times, as OpenMetrics text."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def read(self, registry: Any, now: float) -> None:
        for family in registry.collect():
            for sample in family.samples:
                labels = {**sample.labels, "job": "vetrina", "instance": "simulated"}
                text = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
                self._values[sample.name][text].append(f"{sample.value} {now:.0f}")

    def write(self, path: Path) -> None:
        with path.open("w") as file:
            for name, series in self._values.items():
                for labels, points in series.items():
                    for point in points:
                        file.write(f"{name}{{{labels}}} {point}\n")
            file.write("# EOF\n")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory) -> Iterator[Monitored]:
    """The day, and the processes after it."""
    for tool in ("prometheus", "promtool"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("monitored")
    end = time.time() - 2 * HOUR
    start = end - DAY
    world = World(products=120, users=400, days=15, now=start - DAYS_BEFORE * DAY)
    files = write_input_files(world, folder / "files")
    shop = Shop(shops.without_networks(folder / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("recommend", "search")
    shop.shop_context.engine.dispose()
    (folder / "shop" / "vetrina.toml").write_text(SETTINGS)
    samples = live_through(folder / "shop", world, start, end)
    samples.write(folder / "metrics.txt")
    blocks = [
        "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(folder / "metrics.txt"),
        str(folder / "tsdb"),
    ]
    subprocess.run(blocks, check=True, capture_output=True)
    yield from watched(folder, world, start, end)


def live_through(folder: Path, world: World, start: float, end: float) -> Samples:
    """Nine days of visits, then one on which things go wrong; its metrics, minute by minute."""
    now = Clock(start - DAYS_BEFORE * DAY)
    samples = Samples()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", now)
        patch.setattr(shop_metrics, "_READ_SECONDS", 0.0)
        shop = Shop(folder)
        with TestClient(create_app(folder), base_url="http://127.0.0.1:8337") as client:
            shops.as_server(client)
            users = SimulatedUsers(world, client, now)
            for _ in range(DAYS_BEFORE * VISITS_A_DAY):
                now.now += DAY / VISITS_A_DAY
                users.visit()
            assert abs(now.now - start) < 1.0
            for minute in range(int((end - start) / MINUTE)):
                now.now = start + minute * MINUTE
                happen(minute, shop, client, users)
                for _ in range(VISITS_A_MINUTE):
                    users.visit()
                if minute % 10 == 9:
                    for running in shop.shop_context.rollouts.running().values():
                        reconcile_rollout(shop.shop_context, running, now())
                    client.app.state.service.follower.refresh()
                client.app.state.service.update_gauges()
                samples.read(client.app.state.service.metrics.registry, now())
        shop.shop_context.engine.dispose()
    return samples


def happen(minute: int, shop: Shop, client: TestClient, users: SimulatedUsers) -> None:
    """What goes wrong at this minute of the day."""
    hour, minute_of_hour = divmod(minute, 60)
    silent = hour in (3, 4)
    users.fault = "dead-feed" if silent else ""
    if (hour, minute_of_hour) == (6, 0):
        inject_candidate(shop, "same")
    if (hour, minute_of_hour) == (14, 0):
        shop.shop_context.rollouts.abort("recommend")
        inject_refresh(shop, "error")
        client.app.state.service.follower.refresh()
    if hour == 14 and minute_of_hour < 10:
        for user in range(30):
            users.recommend(user)
    if hour == 16:  # ads has no version here
        assert client.post("/v1/ads", json={"user_id": "u0001"}).status_code == 503
        client.post("/v1/events", json=[{"type": "no-user"}])


def watched(folder: Path, world: World, start: float, end: float) -> Iterator[Monitored]:
    """Service, controller and Prometheus as processes, while users visit."""
    shop = Shop(folder / "shop")
    operate = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop.folder.root), "operate"]
    service, address = start_command(shop.folder.root, "serve", "--port", "0")
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "vetrina",
                "authorization": {"credentials_file": str(shop.folder.root / "keys" / "token")},
                "static_configs": [{"targets": [address.removeprefix("http://")]}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=30d",
    ]
    with (folder / "prometheus.log").open("w") as log, (folder / "operate.log").open("w") as operate_log:
        controller = subprocess.Popen(operate, stderr=operate_log)
        prometheus = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            monitored = Monitored(f"http://127.0.0.1:{port}", start, end)
            with server_client(shop, address) as client:
                visit_live(shop, world, client)
                wait_for(monitored, "count(vetrina_click_loss)")
                wait_for_the_end_of_releases(shop)
                put_while_the_store_is_locked(shop, client)
            controller.send_signal(signal.SIGTERM)
            controller.wait(30)
            service.send_signal(signal.SIGTERM)
            service.wait(30)
            wait_for(monitored, 'up{job="vetrina"} == 0')
            service_log = next((shop.folder.root / "work").glob("serve-*.log"))
            monitored.logs["serve"] = lines_of(service_log)
            monitored.logs["operate"] = lines_of(folder / "operate.log")
            yield monitored
        finally:
            for process in (controller, service, prometheus):
                process.kill()
                process.wait(30)
            shop.shop_context.engine.dispose()


def wait_for_the_end_of_releases(shop: Shop) -> None:
    deadline = time.monotonic() + 60
    while shop.shop_context.rollouts.running():
        assert time.monotonic() < deadline, "the controller did not roll the failing candidate back"
        time.sleep(0.5)


def server_client(shop: Shop, address: str) -> httpx.Client:
    """As the shop's own server calls the service."""
    headers = {"authorization": f"Bearer {shop.folder.keys.api_token}"}
    return httpx.Client(base_url=address, headers=headers, timeout=30)


def visit_live(shop: Shop, world: World, client: httpx.Client) -> None:
    """Visits, while a candidate fails in the shadow."""
    wait_until_ready(client)
    users = SimulatedUsers(world, client, time.time, seed=2)
    for scenario in shop.shop_context.rollouts.running():
        shop.shop_context.rollouts.abort(scenario)
    inject_candidate(shop, "error")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        users.visit()


def put_while_the_store_is_locked(shop: Shop, client: httpx.Client) -> None:
    """A request that fails, of which the log has a line."""
    with closing(sqlite3.connect(shop.folder.root / "store.db", isolation_level=None)) as locked:
        locked.execute("BEGIN IMMEDIATE")
        answer = client.put("/v1/products/rug", json={"title": "Rug"}, headers={"x-request-id": "locked-store"})
        locked.rollback()
    assert answer.status_code == 503


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def query(monitored: Monitored, expression: str) -> list[Any]:
    """What an expression returns now."""
    return ask(monitored, "query", {"query": expression})


def query_day(monitored: Monitored, expression: str) -> list[Any]:
    """What an expression returned during the simulated day."""
    span = {"start": str(monitored.start), "end": str(monitored.end), "step": "60"}
    return ask(monitored, "query_range", {"query": expression, **span})


def ask(monitored: Monitored, kind: str, parameters: Mapping[str, str]) -> list[Any]:
    answer = httpx.post(f"{monitored.prometheus}/api/v1/{kind}", data=dict(parameters), timeout=60).json()
    assert answer["status"] == "success", (parameters["query"], answer)
    return answer["data"]["result"]


def wait_for(monitored: Monitored, expression: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if query(monitored, expression):
                return
        except (httpx.TransportError, ValueError):  # it does not answer yet
            pass
        time.sleep(0.5)
    pytest.fail(f"{expression} returned nothing within two minutes")


def panel_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alerting_rules() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}


def operands(expression: str) -> list[str]:
    """The sides of an alert's comparisons, without constants."""
    found = []
    for part in re.split(r"\s+(?:and|or|unless)\s+|\s*(?:==|>=|<=|(?<![=!])>|<)\s*", expression):
        operand = part.strip()
        while operand.count("(") > operand.count(")"):
            operand = operand.replace("(", "", 1).strip()
        while operand.count(")") > operand.count("("):
            operand = operand[: operand.rindex(")")].strip()
        if re.search("[a-z_]{3}", operand):
            found.append(operand)
    return found


def has_data(monitored: Monitored, expression: str) -> bool:
    """Whether an expression returns numbers, on the simulated day or when the processes ran."""
    live = {"start": str(time.time() - 5 * MINUTE), "end": str(time.time()), "step": "5"}
    results = [*query_day(monitored, expression), *ask(monitored, "query_range", {"query": expression, **live})]
    return any(value != "NaN" for series in results for _, value in series["values"])


@pytest.mark.parametrize("expression", panel_expressions())
def test_every_panel_shows_data(monitored, expression):
    assert has_data(monitored, expression)


@pytest.mark.parametrize("name", alerting_rules())
def test_every_alert_compares_data(monitored, name):
    expression = alerting_rules()[name]
    assert operands(expression)
    for operand in operands(expression):
        assert has_data(monitored, operand), operand
    if name in INJECTED:
        assert has_data(monitored, expression), "its fault was injected"


def test_a_silent_feed_alerts_only_while_it_is_silent(monitored):
    results = query_day(monitored, alerting_rules()["VetrinaFeedDead"])
    hours = [(float(at) - monitored.start) / HOUR for series in results for at, _ in series["values"]]
    # In its first minutes the service may not have had an event yet; the alert waits for half an hour of silence.
    hours = [hour for hour in hours if hour > 0.5]
    assert hours
    assert min(hours) >= 3.0
    assert max(hours) <= 5.6


def test_answers_cost_what_the_process_took(monitored):
    rows = query(monitored, f"max_over_time(sum(vetrina_cpu_seconds_total)[{10 * MINUTE:.0f}s:1s])")
    process = query(monitored, f"max_over_time(sum(process_cpu_seconds_total)[{10 * MINUTE:.0f}s:1s])")
    divided = float(rows[0]["value"][1])
    assert 0 < divided <= float(process[0]["value"][1])


@pytest.mark.parametrize("process", ["serve", "operate"])
def test_lines_of_the_log_have_fields_of_ecs(monitored, process):
    lines = monitored.logs[process]
    assert lines
    own_fields = {row["name"]: row["type"] for row in FILEBEAT["setup.template.append_fields"]}
    for line in lines:
        assert line["event.dataset"] == f"vetrina.{process}"
        for name, value in line.items():
            if name.startswith("vetrina."):
                assert own_fields[name] == "keyword"
                assert isinstance(value, str)
            else:
                check_field(name, value)


def check_field(name: str, value: object) -> None:
    """A value has the type that the Elastic Common Schema gives the field."""
    definition = ECS[name]  # a KeyError names a field that ECS does not have
    if definition["type"] == "long":
        assert type(value) is int, (name, value)
    elif definition["type"] == "date":
        assert datetime.fromisoformat(str(value)).tzinfo is not None
    else:
        assert definition["type"] in ("keyword", "wildcard", "match_only_text")
        assert isinstance(value, str), (name, value)
    if "allowed_values" in definition:
        assert value in definition["allowed_values"]


def test_the_log_names_the_failed_request_and_the_release(monitored):
    by_request = [line for line in monitored.logs["serve"] if line.get("http.request.id") == "locked-store"]
    assert by_request[0]["http.response.status_code"] == 503
    assert by_request[0]["http.request.method"] == "PUT"
    assert by_request[0]["url.path"] == "/v1/products/rug"
    alerts = [line for line in monitored.logs["operate"] if line.get("event.kind") == "alert"]
    assert any(line["vetrina.alert"].startswith("release:") for line in alerts), "the failing candidate is rolled back"
