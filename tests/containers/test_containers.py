"""The images as a user builds, starts, kills and upgrades them, and the services of compose.yaml."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers import free_port, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).parents[2]
# Beside the Python that runs the tests, whose environment need not be active.
PODMAN_COMPOSE = (
    shutil.which("podman-compose", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "podman-compose"
)
COMPOSE = ROOT / "deploy/compose"
TRAINING_LIBRARIES = ("torch", "polars", "pyarrow", "transformers", "onnx", "scipy", "lightgbm", "matplotlib")
MEGABYTE = 1_000_000
MAX_SERVE_MEGABYTES = 350  # beside the base
SECONDS = 120  # no machine is so slow
# As an orchestrator runs it.
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# Podman complains where no systemd gives it a timer for health checks; these tests start them by hand.
COMMAND = (*CONFINED, "--no-healthcheck")


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of a service to one request; None while it does not answer, or not with success."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            text = response.read()
    except OSError:
        return None
    return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


def write_products(folder: Path) -> Path:
    """A folder of data that every user may read."""
    folder.mkdir(mode=0o755)
    with (folder / "products.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["product_id", "title", "price"])
        for i in range(40):
            kind = ("shoes", "shirt", "lamp", "chair", "kettle")[i % 5]
            out.writerow([f"p{i:03d}", f"{('red', 'blue')[i % 2]} {kind} number {i}", 5 + i])
    return folder


@pytest.fixture(scope="module")
def shop(podman, images, tmp_path_factory) -> str:
    """A volume with a shop that the image `train` has ingested and released."""
    data = write_products(tmp_path_factory.mktemp("shop") / "data")
    command = ("run", "--rm", *COMMAND, "--volume=trained:/shop", f"--volume={data}:/data:ro", images["train"])
    podman.run(*command, "ingest", "--products", "/data/products.csv")
    podman.run(*command, "run", "search")
    return "trained"


@pytest.fixture
def start(podman, shop) -> Iterator[Callable[[str, int], str]]:
    """Starts a service of an image on a port; it is removed at the end of the test."""
    names = []

    def start_service(image: str, port: int) -> str:
        names.append(f"service-{uuid.uuid4().hex[:8]}")
        publish = f"--publish=127.0.0.1:{port}:8337"
        podman.run("run", "--detach", "--name", names[-1], *CONFINED, publish, f"--volume={shop}:/shop", image)
        return names[-1]

    yield start_service
    for name in names:
        podman.run("rm", "--force", "--time", "0", name, check=False)


def size_of(podman, image: str) -> int:
    """Bytes of the files of all its layers."""
    return int(podman.says("image", "inspect", "--format", "{{.Size}}", image))


def test_the_serving_image_holds_what_serving_needs_and_little_else(podman, images, base):
    image = images["serve"]
    script = (
        "import importlib.util as u, os; "
        f"print([m for m in {TRAINING_LIBRARIES} if u.find_spec(m)], os.getuid(), os.path.exists('/usr/bin/pip'))"
    )
    printed = podman.says("run", "--rm", *COMMAND, "--entrypoint=python3", image, "-c", script)
    assert printed == "[] 10001 False"
    assert "healthcheck" in podman.says("image", "inspect", "--format", "{{.Config.Healthcheck.Test}}", image)
    megabytes = (size_of(podman, image) - size_of(podman, base)) / MEGABYTE
    assert megabytes <= MAX_SERVE_MEGABYTES


def canonical_name(package: str) -> str:
    return re.sub("[-_.]+", "-", package).lower()


@pytest.mark.parametrize("target", ["serve", "train"])
def test_the_bill_of_materials_lists_every_package_in_its_pinned_version(podman, images, target):
    python = ("run", "--rm", *COMMAND, "--entrypoint=python3", images[target], "-c")
    listing = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    installed = json.loads(podman.says(*python, listing))
    assert installed.pop("vetrina")
    bill = json.loads(
        podman.says(*python, "import json; print(json.dumps(json.load(open('/opt/venv/sbom.cdx.json'))))")
    )
    assert bill["bomFormat"] == "CycloneDX"
    assert {part["name"]: part["version"] for part in bill["components"]} == installed
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical_name(name): version for name, version in (line.split("==") for line in lines)}
    for name, version in installed.items():
        assert version.split("+")[0] == pinned[canonical_name(name)], name  # torch for CPUs is 2.13.0+cpu


@pytest.mark.parametrize(
    ("options", "words", "reason"),
    [
        ([], [], "is no volume"),
        (["--volume={roots}:/shop"], [], "belongs to root and cannot be written by user 10001; chown -R 10001"),
        (["--volume={shop}:/shop:ro"], [], "is mounted read-only"),
        (["--volume={shop}:/shop", "--user=1234"], [], "run with --user 10001"),
        (["--volume={shop}:/shop", "--user=0"], [], "run with --user 10001"),
        (["--volume={shop}:/shop", "--env=VETRINA_SHOP=/elsewhere"], [], "there is no such folder"),
        (["--volume=nothing:/shop"], [], "has nothing released yet; vetrina ingest, then vetrina run"),
        (["--volume={shop}:/shop"], ["run", "search"], "needs polars, which is not installed here"),
        (["--volume={shop}:/shop"], ["serv"], "No such command"),
    ],
)
def test_a_mistake_gets_one_line(podman, images, shop, tmp_path, options, words, reason):
    tmp_path.chmod(0o755)
    mounts = [option.format(roots=tmp_path, shop=shop) for option in options]
    done = podman.run("run", "--rm", *COMMAND, *mounts, images["serve"], *words, check=False)
    assert done.returncode == 2, done.stdout
    assert reason in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1, done.stdout


def test_a_service_answers_is_killed_and_has_kept_what_it_acknowledged(podman, images, start):
    port = free_port()
    name = start(images["serve"], port)
    wait_for(lambda: ask(port, "/readyz"), explain=lambda: podman.run("logs", name).stdout)
    assert ask(port, "/v1/search", {"query": "red chair", "limit": 3})["items"]
    podman.run("healthcheck", "run", name)
    event = {"event_id": "kept", "user_id": "ann", "type": "view", "product_id": "p001"}
    assert ask(port, "/v1/events", event) == {"accepted": 1, "new": 1}
    podman.run("kill", name)
    assert podman.run("healthcheck", "run", name, check=False).returncode != 0
    podman.run("start", name)
    wait_for(lambda: ask(port, "/readyz"), explain=lambda: podman.run("logs", name).stdout)
    assert ask(port, "/v1/events", event) == {"accepted": 1, "new": 0}


def test_a_later_image_takes_the_shop_over(podman, images, build_options, start, tmp_path):
    """The code changes and no package does: one small layer is all that is new."""
    later = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in listed.stdout.splitlines():
        if file.startswith(("src/", "deploy/")) or "/" not in file:
            (later / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, later / file)
    version_file = later / "src/vetrina/core/version.py"
    changed = version_file.read_text().replace('VERSION = "', 'VERSION = "99.')
    version_file.write_text(changed)
    containerfile = later / "deploy/images/Containerfile"
    options = ("--quiet", "--format=docker", *build_options)  # the format of `make image`
    podman.run("build", *options, "--target=serve", "--tag=later", f"--file={containerfile}", later)
    layers = [
        podman.says("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
        for image in (images["serve"], "later")
    ]
    before, after = map(json.loads, layers)
    assert before[:-1] == after[:-1]
    port = free_port()
    name = start(images["serve"], port)
    wait_for(lambda: ask(port, "/readyz"), explain=lambda: podman.run("logs", name).stdout)
    event = {"event_id": "before the upgrade", "user_id": "ann", "type": "view", "product_id": "p002"}
    assert ask(port, "/v1/events", event) == {"accepted": 1, "new": 1}
    podman.run("stop", "--time", "30", name)
    status = podman.says("inspect", "--format", "{{.State.ExitCode}}", name)
    assert status == "143", "it ended on SIGTERM, within its time; 137 is one that had to be killed"
    next_port = free_port()
    next_name = start("later", next_port)
    wait_for(lambda: ask(next_port, "/readyz"), explain=lambda: podman.run("logs", next_name).stdout)
    assert "99." in podman.says("exec", next_name, "vetrina", "--version")
    assert ask(next_port, "/v1/events", event) == {"accepted": 1, "new": 0}
    assert ask(next_port, "/v1/search", {"query": "blue lamp", "limit": 3})["items"]


def test_the_demo_prints_the_address_that_its_port_is_published_at(podman, images):
    port = free_port()
    publish = f"--publish=127.0.0.1:{port}:{port}"
    words = ("demo", "--host", "0.0.0.0", "--port", str(port))
    podman.run("run", "--detach", "--name=demo", *CONFINED, publish, "--volume=demo:/shop", images["train"], *words)

    def said() -> str:
        return podman.run("logs", "demo").stdout

    try:
        wait_for(lambda: '"chocolate milk" finds' in said(), said, 600)
        assert ask(port, "/v1/search", {"query": "chocolate milk", "limit": 3})["items"]
        wait_for(lambda: "shows every route" in said(), said, 600)
        assert f"  curl -s http://127.0.0.1:{port}/v1/search" in said()
        wait_for(lambda: "docker exec CONTAINER cat /shop/keys/token" in said(), explain=said)
    finally:
        podman.run("rm", "--force", "--time", "0", "demo", check=False)


@dataclass(frozen=True)
class Compose:
    """`podman-compose` on the repository's file."""

    environment: Mapping[str, str]

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """What `podman-compose WORDS` does and prints, standard error included."""
        return subprocess.run(
            [PODMAN_COMPOSE, "--file", COMPOSE / "compose.yaml", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def logs(self) -> str:
        return self.run("logs").stdout[-6_000:]


@pytest.fixture(scope="module")
def compose(podman, images, build_options) -> Iterator[Compose]:
    """With images that stand in for those of a registry."""
    for name in ("postgres", "prometheus"):
        file = ROOT / f"tests/containers/{name}.Containerfile"
        podman.run("build", "--quiet", *build_options, f"--tag=stand-in-{name}", f"--file={file}", file.parent)
    command = Compose(
        {
            **podman.environment,
            "POSTGRES_PASSWORD": "a-secret-of-the-test",
            "POSTGRES_IMAGE": "localhost/stand-in-postgres",
            "PROMETHEUS_IMAGE": "localhost/stand-in-prometheus",
            "SERVE_IMAGE": images["serve"],
            "TRAIN_IMAGE": images["train"],
            "PORT": str(free_port()),
            "PROMETHEUS_PORT": str(free_port()),
        }
    )
    yield command
    command.run("down", "--volumes", "--timeout", "1")


def test_compose_without_a_password_starts_nothing(compose):
    variables = {name: value for name, value in compose.environment.items() if name != "POSTGRES_PASSWORD"}
    done = Compose(variables).run("up", "--detach")
    assert done.returncode != 0
    assert "has no value; write one into the file .env" in done.stdout


def test_compose_starts_a_shop_on_postgresql_that_answers_and_is_watched(compose, tmp_path):
    data = write_products(tmp_path / "data")
    started = compose.run("up", "--detach", "postgres")
    assert started.returncode == 0, started.stdout
    ingest = ("controller", "ingest", "--products", "/data/products.csv")

    def is_ingested() -> bool:
        return compose.run("run", "--rm", "--no-deps", "--volume", f"{data}:/data:ro", *ingest).returncode == 0

    wait_for(is_ingested, explain=compose.logs)  # the database takes a moment
    started = compose.run("up", "--detach")
    assert started.returncode == 0, started.stdout
    port = int(compose.environment["PORT"])
    answer = wait_for(lambda: ask(port, "/v1/search", {"query": "red chair", "limit": 3}), compose.logs, 600)
    assert answer["items"]
    prometheus = int(compose.environment["PROMETHEUS_PORT"])

    def is_watched() -> bool:
        targets = ask(prometheus, "/api/v1/query?query=up%7Bjob%3D%22vetrina%22%7D")
        return bool(targets) and [series["value"][1] for series in targets["data"]["result"]] == ["1"]

    wait_for(is_watched, explain=compose.logs)
