"""Pods of the rendered manifests as processes: PostgreSQL, object storage and a proxy are real, a cluster there is none.

What a kubelet does is done here as the manifest says: settings and keys are put into the volume, the latter by the init container's
script, the container's words start the command, probes are asked, and a pod that ends gets its preStop hook, SIGTERM and its time.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import servers
import shops
import yaml
from click.testing import CliRunner

from vetrina.cli.main import cli

pytestmark = pytest.mark.deploy

SECONDS = 120  # no machine is so slow
LATE_ENDPOINTS_SECONDS = 2.0  # after which a proxy hears that a pod ends
N_CLIENTS = 4
SETTINGS = """
settings: |
  [store]
  url = "{database}"
  bundles = "s3://vetrina/shop"
  [serve]
  hosts = ["localhost", "vetrina-api"]
  [train]
  exclude_models = ["sasrec", "gru", "mlp", "dcn"]
  [gate]
  latency_ms = 1e6
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what: Callable[[], Any], explain: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        result = what()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(explain())


@dataclass
class Pod:
    """A container of a rendered pod as a process, with the folder that its volume `shop` is."""

    container: Mapping[str, Any]
    grace_seconds: int
    process: "subprocess.Popen[str]"
    log: Path
    port: int

    def is_healthy(self, probe: str) -> bool:
        """What the kubelet finds: by the address of the pod, as it asks."""
        get = self.container[probe]["httpGet"]
        assert get["port"] == self.container["ports"][0]["name"]
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{get['path']}", timeout=SECONDS)
        except httpx.TransportError:
            return False
        return answer.is_success

    def end(self) -> int:
        """The exit status after what ends a pod; the container is not killed within its time."""
        started = time.monotonic()
        hook = self.container.get("lifecycle", {}).get("preStop")
        if hook is not None:
            subprocess.run(hook["exec"]["command"], check=True)
        self.process.send_signal(signal.SIGTERM)
        left = self.grace_seconds - (time.monotonic() - started)
        return self.process.wait(left)


@dataclass
class Cluster:
    """What runs the rendered pods of one shop."""

    root: Path
    objects: Mapping[tuple[str, str], dict[str, Any]]
    environment: Mapping[str, str]
    started: list[Pod] = field(default_factory=list)

    def pod_of(self, kind: str, name: str) -> dict[str, Any]:
        """The specification of the pods of an object."""
        spec = self.objects[kind, name]["spec"]
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        return spec["template"]["spec"]

    def mount(self, spec: Mapping[str, Any], folder: Path) -> None:
        """Fill the volume `shop`: the settings from the ConfigMap, then the keys by the init container."""
        folder.mkdir(exist_ok=True)
        settings = self.objects["ConfigMap", "vetrina-settings"]["data"]["vetrina.toml"]
        (folder / "vetrina.toml").write_text(settings)
        (copy_keys,) = spec["initContainers"]
        script = re.sub("(?<!/shop)/keys/", f"{self.root}/secret/", copy_keys["args"][0])
        script = script.replace("/shop/keys", f"{folder}/keys")
        subprocess.run([*copy_keys["command"], script], check=True)

    def run(self, kind: str, name: str, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
        """What the container of a pod does, from its start to its end."""
        spec = self.pod_of(kind, name)
        self.mount(spec, folder)
        return self.vetrina(folder, *spec["containers"][0]["args"], *more)

    def start(self, kind: str, name: str, folder: Path, *more: str, port: int = 0) -> Pod:
        """The container of a pod, running."""
        spec = self.pod_of(kind, name)
        self.mount(spec, folder)
        (container,) = spec["containers"]
        log = self.root / f"{folder.name}.log"
        with log.open("w") as file:
            command = self.command(folder, *container["args"], *more)
            process = subprocess.Popen(command, env=self.environment, stderr=file, stdout=file, text=True)
        pod = Pod(container, spec["terminationGracePeriodSeconds"], process, log, port)
        self.started.append(pod)
        return pod

    def start_service(self, name: str, port: int) -> Pod:
        """A pod of the service in an empty folder, ready to answer. Pods here share their addresses, so each has a port."""
        pod = self.start("Deployment", "vetrina-api", self.root / name, "--port", str(port), port=port)
        wait_for(lambda: pod.is_healthy("readinessProbe"), pod.log.read_text)
        assert pod.is_healthy("startupProbe")
        assert pod.is_healthy("livenessProbe")
        return pod

    def vetrina(self, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(folder, *words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
            check=False,
        )

    def command(self, folder: Path, *words: str) -> list[str]:
        """The command of the images, here: VETRINA_SHOP names the volume there."""
        return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]


def rendered(folder: Path, values: str) -> dict[tuple[str, str], dict[str, Any]]:
    (folder / "values.yaml").write_text(values)
    words = ["deploy", "render", "kubernetes", str(folder / "manifests"), "--values", str(folder / "values.yaml")]
    CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    objects = {}
    for file in (folder / "manifests/base").glob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document and "metadata" in document:
                objects[document["kind"], document["metadata"]["name"]] = document
    return objects


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A shop whose first version the job `vetrina-train` has released."""
    root = tmp_path_factory.mktemp("cluster")
    (root / "database").mkdir()
    with servers.postgresql(root / "database") as server, servers.s3() as storage:
        database = servers.fresh_database(server, "vetrina")
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": storage,
        }
        objects = rendered(root, SETTINGS.format(database=database))
        cluster = Cluster(root, objects, environment)
        (root / "first").mkdir()
        cluster.vetrina(root / "first", "versions")  # a shop without data gets its keys
        shutil.copytree(root / "first/keys", root / "secret", ignore=shutil.ignore_patterns(".*"))
        volume = root / "volume"
        cluster.mount(cluster.pod_of("CronJob", "vetrina-train"), volume)
        files = shops.checkerboard(root)
        ingested = cluster.vetrina(volume, "ingest", "--products", str(files["products"]))
        assert ingested.returncode == 0, ingested.stderr
        trained = cluster.run("CronJob", "vetrina-train", volume, "search")
        assert trained.returncode == 0, trained.stderr
        yield cluster
        for pod in cluster.started:
            if pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()


def test_the_job_that_upgrades_runs(cluster):
    done = cluster.run("CronJob", "vetrina-upgrade", cluster.root / "volume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout


def test_one_of_two_controllers_leads_and_both_end_in_time(cluster):
    """They share the volume, as two pods do."""
    pods = [cluster.start("Deployment", "vetrina-controller", cluster.root / "volume") for _ in range(2)]

    def leaders() -> int:
        return sum("leads" in pod.log.read_text() or "lease" in pod.log.read_text() for pod in pods)

    time.sleep(5)
    print([pod.log.read_text() for pod in pods])
    assert [pod.process.poll() for pod in pods] == [None, None]
    assert [pod.end() for pod in pods] == [0, 0]


def proxy_configuration(folder: Path, port: int, pod: Pod) -> str:
    """nginx in the place of a Service and its Ingress: the endpoints are the pods that are ready and do not end."""
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
pid {folder}/pid;
worker_processes 1;
error_log {folder}/error.log;
events {{}}
http {{
access_log off;
{paths}
upstream endpoints {{ server 127.0.0.1:{pod.port}; keepalive 8; }}
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://endpoints;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream off;
  }}
}}
}}
"""


@pytest.fixture
def proxy(tmp_path) -> Iterator[Callable[[Pod], str]]:
    """Starts nginx, or gives it other endpoints; returns its address."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    file = tmp_path / "nginx.conf"
    command = ["nginx", "-p", str(tmp_path), "-c", str(file), "-e", str(tmp_path / "error.log")]
    running: list[subprocess.Popen[bytes]] = []

    def point_to(pod: Pod) -> str:
        file.write_text(proxy_configuration(tmp_path, port, pod))
        if running:
            subprocess.run([*command, "-s", "reload"], check=True)
        else:
            running.append(subprocess.Popen([*command, "-g", "daemon off;"]))
            wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        return f"http://127.0.0.1:{port}"

    yield point_to
    for process in running:
        process.terminate()
        process.wait(SECONDS)


@dataclass
class Load:
    """Requests of clients that go on until they are stopped; an event is counted once it is acknowledged."""

    address: str
    stop: threading.Event = field(default_factory=threading.Event)
    n_answered: int = 0
    acknowledged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def send(self, client_number: int) -> None:
        n = 0
        with httpx.Client(base_url=self.address, timeout=SECONDS) as client:
            while not self.stop.is_set():
                n += 1
                event = {
                    "event_id": f"{client_number}-{n}",
                    "user_id": f"u{client_number}",
                    "type": "view",
                    "product_id": "p001",
                }
                try:
                    found = client.post("/v1/search", json={"query": "red chair", "limit": 3})
                    stored = client.post("/v1/events", json=event)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if found.status_code != 200 or stored.status_code != 202:
                    self.failures.append(f"{found.status_code} {found.text} {stored.status_code} {stored.text}")
                    continue
                self.n_answered += 2
                self.acknowledged.append(event["event_id"])
                time.sleep(0.01)


def test_a_rolling_update_under_load_loses_no_request(cluster, proxy):
    """maxSurge 1, maxUnavailable 0: the new pod is ready, then the old one ends, and the proxy hears of that late."""
    old = cluster.start_service("old", free_port())
    load = Load(proxy(old))
    with ThreadPoolExecutor(N_CLIENTS) as clients:
        for number in range(N_CLIENTS):
            clients.submit(load.send, number)
        try:
            wait_for(lambda: load.n_answered > 50, lambda: str(load.failures))
            new = cluster.start_service("new", free_port())
            ending = threading.Thread(target=lambda: statuses.append(old.end()))
            statuses: list[int] = []
            ending.start()
            time.sleep(LATE_ENDPOINTS_SECONDS)
            proxy(new)
            ending.join(SECONDS)
            before = load.n_answered
            wait_for(lambda: load.n_answered > before + 50, lambda: str(load.failures))
        finally:
            load.stop.set()
    assert statuses == [0], old.log.read_text()
    assert load.failures == []
    check = httpx.post(
        f"http://127.0.0.1:{new.port}/v1/events",
        json=[{"event_id": load.acknowledged[0], "user_id": "u0", "type": "view", "product_id": "p001"}],
    )
    assert check.json()["new"] == 0, check.text
    database = cluster.objects["ConfigMap", "vetrina-settings"]["data"]["vetrina.toml"].split('"')[1]
    with psycopg.connect(database) as connection:
        (n_stored,) = connection.execute("select count(*) from events").fetchone() or (0,)
    assert n_stored == len(load.acknowledged)
    assert new.end() == 0


def test_a_version_that_never_gets_ready_leaves_the_old_pods_alone(cluster):
    """Its bundles cannot be fetched: readiness fails, so that a Deployment with maxUnavailable 0 ends no old pod."""
    port = free_port()
    cluster_without_storage = Cluster(
        cluster.root, cluster.objects, {**cluster.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    )
    pod = cluster_without_storage.start(
        "Deployment", "vetrina-api", cluster.root / "broken", "--port", str(port), port=port
    )
    try:
        wait_for(lambda: pod.is_healthy("livenessProbe"), pod.log.read_text)
        assert not pod.is_healthy("readinessProbe")
    finally:
        pod.process.kill()
        pod.process.wait()
    strategy = cluster.objects["Deployment", "vetrina-api"]["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_a_store_that_is_away_ends_a_pod_with_one_line(cluster, tmp_path):
    """The kubelet starts it again."""
    away = f"postgresql://vetrina@127.0.0.1:{free_port()}/vetrina"
    objects = rendered(tmp_path, SETTINGS.format(database=away))
    done = Cluster(cluster.root, objects, cluster.environment).run(
        "Deployment", "vetrina-api", cluster.root / "away", "--port", "0"
    )
    assert done.returncode == 75
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "database can be reached" in done.stderr
