"""The rendered Deployment of the service, run by Podman from the built image."""

import base64
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pods
import psycopg
import pytest
import yaml
from pods import Cluster
from servers import free_port, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).parents[2]
PASSWORD = "a-secret-of-the-test"
DATABASE_IMAGE = "stand-in-postgres"


def address_of_this_machine() -> str:
    """By which containers reach it, too; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))
        return sock.getsockname()[0]


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """An S3 service that containers reach."""
    port = free_port()
    here = address_of_this_machine()
    command = [sys.executable, "-m", "moto.server", "-H", here, "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex((here, port)) == 0

    wait_for(answers)
    yield f"http://{here}:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def database(podman, build_options) -> Iterator[str]:
    """PostgreSQL in a container, on a port of this machine; its password is PGPASSWORD."""
    file = ROOT / "tests/containers/postgres.Containerfile"
    podman.run("build", "--quiet", *build_options, f"--tag={DATABASE_IMAGE}", f"--file={file}", file.parent)
    port = free_port()
    variables = [f"--env=POSTGRES_{name}" for name in ("USER=vetrina", "DB=vetrina", f"PASSWORD={PASSWORD}")]
    podman.run("run", "--detach", "--name=kube-database", f"--publish={port}:5432", *variables, DATABASE_IMAGE)
    url = f"postgresql://vetrina@{address_of_this_machine()}:{port}/vetrina"

    def takes_connections() -> bool:
        try:
            psycopg.connect(url, password=PASSWORD, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for(takes_connections)
    yield url
    podman.run("rm", "--force", "--time", "0", "kube-database", check=False)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, database, storage) -> Iterator[Cluster]:
    """A shop with a released version."""
    root = tmp_path_factory.mktemp("cluster")
    with pods.released_shop(root, database, environment_of(storage)) as cluster:
        yield cluster


def environment_of(storage: str) -> dict[str, str]:
    return {**pods.s3_environment(storage), "PGPASSWORD": PASSWORD}


def encoded(values: dict[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in values.items()}


def played_objects(cluster: Cluster, image: str, port: int, keys: Path) -> list[dict[str, Any]]:
    """What `podman kube play` knows of the manifests, with this image, and on a port of this machine that is free.

    The keys come from a folder: Podman 4.3 mounts a Secret as it is written, in base64, where Kubernetes mounts its bytes.
    """
    deployment = cluster.objects["Deployment", "vetrina-api"]
    pod = deployment["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        container["image"] = image
    pod["containers"][0]["ports"][0]["hostPort"] = port
    deployment["spec"]["replicas"] = 1
    for volume in pod["volumes"]:
        if volume.pop("secret", None):
            volume["hostPath"] = {"path": str(keys), "type": "Directory"}
    return [cluster.objects["ConfigMap", "vetrina-settings"], deployment]


def readable_keys(cluster: Cluster, folder: Path) -> Path:
    """A copy of the keys that the user of the image can read, as a Secret with a group is."""
    folder.mkdir()
    folder.chmod(0o755)
    for file in (cluster.root / "secret").iterdir():
        copy = folder / file.name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o644)
    return folder


def play(podman: Any, manifests: Path) -> None:
    """Podman 4.3 may want to remove an init container before it has seen its end, and starts nothing else then."""
    played = podman.run("kube", "play", manifests, check=False)
    if played.returncode != 0:
        assert "failed to remove once init container" in played.stdout, played.stdout
        podman.run("wait", "vetrina-api-pod-0-folder")
        podman.run("start", "vetrina-api-pod-0-api")


def test_podman_runs_the_rendered_deployment(podman, images, cluster, storage, tmp_path):
    port = free_port()
    manifests = tmp_path / "manifests.yaml"
    keys = readable_keys(cluster, tmp_path / "keys")
    manifests.write_text(yaml.safe_dump_all(played_objects(cluster, images["serve"], port, keys)))
    variables = {name: value.encode() for name, value in environment_of(storage).items()}
    (tmp_path / "environment.json").write_text(json.dumps(encoded(variables)))
    podman.run("secret", "create", "vetrina-environment", tmp_path / "environment.json")
    play(podman, manifests)

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def logs() -> str:
        names = podman.run("ps", "--all", "--format", "{{.Names}} {{.Status}}").stdout
        containers = [line.split()[0] for line in names.splitlines() if "vetrina-api" in line]
        return names + "".join(podman.run("logs", name, check=False).stdout for name in containers)

    try:
        wait_for(is_ready, logs)
        body = {"query": "red chair", "limit": 3}
        assert httpx.post(f"http://127.0.0.1:{port}/v1/search", json=body, timeout=30).json()["items"]
        event = {"event_id": uuid.uuid4().hex, "user_id": "ann", "type": "view", "product_id": "p001"}
        stored = httpx.post(f"http://127.0.0.1:{port}/v1/events", json=event, timeout=30)
        assert stored.json()["new"] == 1
        (name,) = [name for name in podman.run("ps", "--format", "{{.Names}}").stdout.split() if name.endswith("-api")]
        assert podman.says("exec", name, "id", "-u") == "10001"
        assert podman.run("exec", name, "touch", "/opt/anything", check=False).returncode != 0, "it is read-only"
        effective = podman.says("exec", name, "grep", "CapEff", "/proc/1/status")
        assert int(effective.split()[1], 16) == 0, "it has no capabilities"
    finally:
        podman.run("kube", "down", manifests, check=False)
        podman.run("secret", "rm", "vetrina-environment", check=False)
