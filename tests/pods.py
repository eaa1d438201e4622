"""Pods of rendered manifests as processes of this machine, and a shop that they serve.

What a kubelet does is done here as the manifest says: the init container's script fills the volume with settings and keys, the
container's words start the command, probes are asked, and a pod that ends gets its preStop hook, SIGTERM and its time.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import shops
import yaml
from click.testing import CliRunner
from servers import wait_for

from vetrina.cli.main import cli

SECONDS = 120  # no machine is so slow
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
    database: str
    started: list[Pod] = field(default_factory=list)

    def pod_of(self, kind: str, name: str) -> dict[str, Any]:
        """The specification of the pods of an object."""
        spec = self.objects[kind, name]["spec"]
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        return spec["template"]["spec"]

    def fill(self, spec: Mapping[str, Any], folder: Path) -> None:
        """Do what the init container does, with the folders of this machine as its volumes."""
        folder.mkdir(exist_ok=True)
        settings = self.root / "settings"
        settings.mkdir(exist_ok=True)
        for name, text in self.objects["ConfigMap", "vetrina-settings"]["data"].items():
            (settings / name).write_text(text)
        (container,) = spec["initContainers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"shop": "/shop", "keys": "/keys", "settings": "/settings"}
        places = {"/shop": folder, "/keys": self.root / "secret", "/settings": settings}
        script = re.sub(
            r"/shop|(?<!/shop)/keys|/settings", lambda mount: str(places[mount.group()]), container["args"][0]
        )
        subprocess.run([*container["command"], script], check=True)

    def run(self, kind: str, name: str, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
        """What the container of a pod does, from its start to its end."""
        spec = self.pod_of(kind, name)
        self.fill(spec, folder)
        return self.vetrina(folder, *spec["containers"][0]["args"], *more)

    def start(self, kind: str, name: str, folder: Path, *more: str, port: int = 0) -> Pod:
        """The container of a pod, running."""
        spec = self.pod_of(kind, name)
        self.fill(spec, folder)
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

    def make_keys(self) -> None:
        """The Secret of the keys, as docs/how-to/kubernetes.md has it: a shop without data gets them from its first command."""
        folder = self.root / "new"
        folder.mkdir()
        done = self.vetrina(folder, "versions")
        assert done.returncode == 0, done.stderr
        shutil.copytree(folder / "keys", self.root / "secret", ignore=shutil.ignore_patterns(".*"))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the store."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement).fetchall()

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


def s3_environment(address: str) -> dict[str, str]:
    """What the Secret of the environment holds, for a service of the tests."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }


@contextmanager
def released_shop(root: Path, database: str, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """A shop of products whose first version of search the job `vetrina-train` has released.

    Args:
        root: An empty folder.
        database: The store's URL, an empty database of PostgreSQL.
        environment: What the Secret of the environment holds.
    """
    objects = rendered(root, SETTINGS.format(database=database))
    cluster = Cluster(root, objects, {**os.environ, **environment}, database)
    cluster.make_keys()
    volume = root / "volume"
    cluster.fill(cluster.pod_of("CronJob", "vetrina-train"), volume)
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
