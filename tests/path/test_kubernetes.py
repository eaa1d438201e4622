"""Pods of the rendered manifests as processes: PostgreSQL, object storage and a proxy are real, a cluster there is none."""

import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pods
import pytest
import servers
from pods import SECONDS, Cluster, Pod
from servers import free_port, wait_for

pytestmark = pytest.mark.deploy

LATE_ENDPOINTS_SECONDS = 2.0  # after which a proxy hears that a pod ends
N_CLIENTS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A shop with a released version."""
    root = tmp_path_factory.mktemp("cluster")
    (root / "database").mkdir()
    with servers.postgresql(root / "database") as server, servers.s3() as storage:
        database = servers.fresh_database(server, "vetrina")
        with pods.released_shop(root, database, pods.s3_environment(storage)) as cluster:
            yield cluster


def test_the_job_that_upgrades_runs(cluster):
    done = cluster.run("CronJob", "vetrina-upgrade", cluster.root / "volume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout


def test_of_two_controllers_one_leads_and_both_end_in_time(cluster):
    """They share the volume, as two pods do."""
    controllers = [cluster.start("Deployment", "vetrina-controller", cluster.root / "volume") for _ in range(2)]

    def are_running() -> bool:
        return all(catches_sigterm(pod.process.pid) for pod in controllers) and bool(
            cluster.query("select holder from leases")
        )

    wait_for(are_running, controllers[0].log.read_text)
    assert [pod.process.poll() for pod in controllers] == [None, None]
    (leader,) = cluster.query("select holder from leases")
    assert sum(f"-{pod.process.pid}." in leader[0] for pod in controllers) == 1
    assert [pod.end() for pod in controllers] == [0, 0]


def catches_sigterm(pid: int) -> bool:
    """Whether a process has got as far as to end by itself."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return caught is not None and bool(int(caught.group(1), 16) >> (signal.SIGTERM - 1) & 1)


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
    proxy_set_header Host vetrina-api;
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
    statuses: list[int] = []
    with ThreadPoolExecutor(N_CLIENTS) as clients:
        for number in range(N_CLIENTS):
            clients.submit(load.send, number)
        try:
            wait_for(lambda: load.n_answered > 50, lambda: str(load.failures[:3]))
            new = cluster.start_service("new", free_port())
            ending = threading.Thread(target=lambda: statuses.append(old.end()))
            ending.start()
            time.sleep(LATE_ENDPOINTS_SECONDS)
            proxy(new)
            ending.join(SECONDS)
            before = load.n_answered
            wait_for(lambda: load.n_answered > before + 50, lambda: str(load.failures[:3]))
        finally:
            load.stop.set()
    assert statuses in ([0], [-signal.SIGTERM]), "it ended by itself, within its time"
    assert load.failures[:3] == []
    ((n_stored,),) = cluster.query("select count(*) from events")
    assert n_stored == len(load.acknowledged)
    assert new.end() in (0, -signal.SIGTERM)


def test_a_version_that_never_gets_ready_leaves_the_old_pods_alone(cluster):
    """Its bundles cannot be fetched: readiness fails, so that a Deployment with maxUnavailable 0 ends no old pod."""
    port = free_port()
    environment = {**cluster.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    cluster_without_storage = replace(cluster, environment=environment)
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


def test_a_store_that_is_away_ends_a_pod_that_starts(cluster, tmp_path):
    """The line says why, and the kubelet starts it again."""
    away = f"postgresql://vetrina@127.0.0.1:{free_port()}/vetrina"
    objects = pods.rendered(tmp_path, pods.SETTINGS.format(database=away))
    without_database = replace(cluster, objects=objects)
    done = without_database.run("Deployment", "vetrina-api", cluster.root / "away", "--port", "0")
    assert done.returncode == 75
    assert "database can be reached" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
