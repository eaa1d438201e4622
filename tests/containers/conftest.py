"""Podman with a storage of its own, and the images that `make image` builds, made from what this machine reaches."""

import configparser
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = "localhost/debian-base"
SECONDS = 1_800  # of a build on a busy machine
NEEDED = ("podman", "buildah", "runc", "netavark", "debootstrap")
_LIBRARIES = ("/usr/lib/podman", "/usr/libexec/podman")  # where netavark lies, outside of PATH

_ENGINE = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@dataclass(frozen=True)
class Podman:
    """The command `podman`, whose images, containers and volumes lie in a folder of the tests."""

    environment: Mapping[str, str]

    def run(
        self, *words: str | Path, check: bool = True, timeout: float = SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """What `podman WORDS` prints, standard error included; an error shows it."""
        done = subprocess.run(
            ["podman", *map(str, words)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done

    def says(self, *words: str | Path) -> str:
        """The last line that `podman WORDS` prints."""
        return self.run(*words).stdout.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def podman(tmp_path_factory) -> Iterator[Podman]:
    """Skipped where the system has no podman. Everything it made is removed at the end.

    VETRINA_TEST_PODMAN names a folder that keeps images from one run of the suite to the next; remove it by hand.
    """
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"root and {' '.join(NEEDED)} are needed: apt-get install {' '.join(missing)}")
    kept = os.environ.get("VETRINA_TEST_PODMAN")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("podman")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(_ENGINE)
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
    (folder / "storage.conf").write_text(storage)
    environment = {
        **os.environ,
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    command = Podman(environment)
    try:
        yield command
    finally:
        command.run("rm", "--all", "--force", "--time", "0", check=False)
        command.run("volume", "rm", "--all", "--force", check=False)
        command.run("network", "prune", "--force", check=False)
        if not kept:
            command.run("rmi", "--all", "--force", check=False)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base(podman, tmp_path_factory) -> str:
    """A Debian without a registry: bootstrapped from the package mirror, or the tar file that VETRINA_TEST_BASE names."""
    named = os.environ.get("VETRINA_TEST_BASE")
    tar = Path(named) if named else tmp_path_factory.mktemp("base") / "debian.tar"
    if not tar.exists():
        rootfs = tmp_path_factory.mktemp("rootfs")
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", rootfs], check=True, capture_output=True)
        shutil.rmtree(rootfs / "var/cache/apt")
        subprocess.run(["tar", "-C", rootfs, "-cf", tar, "."], check=True)
        shutil.rmtree(rootfs)
    podman.run("import", "--quiet", tar, BASE)
    return BASE


@pytest.fixture(scope="session")
def build_options(base, tmp_path_factory) -> list[str]:
    """Words of a build that downloads as this machine does: its network, its base, and pip as it is configured here."""
    options = ["--network=host", f"--build-arg=BASE={base}", *_pip_options(tmp_path_factory.mktemp("pip"))]
    return options


@pytest.fixture(scope="session")
def images(podman, build_options) -> dict[str, str]:
    """Both images by their target, built as a user builds them."""
    make = ["make", "image", "CONTAINER=podman", f"IMAGE_OPTIONS={' '.join(build_options)} --quiet"]
    done = subprocess.run(make, cwd=ROOT, env=podman.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    return {target: f"localhost/vetrina-{target}" for target in ("serve", "train")}


def _is_installed(name: str) -> bool:
    return shutil.which(name) is not None or any((Path(folder) / name).exists() for folder in _LIBRARIES)


def _pip_options(folder: Path) -> list[str]:
    """Mounts for what this machine's pip.conf names: its certificates, and folders of packages."""
    configuration = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    entries = dict(line.split("=", 1) for line in configuration.stdout.splitlines() if line.startswith("global."))
    settings = configparser.ConfigParser(interpolation=None)
    settings["global"] = {}
    options = []
    for name in ("cert", "find-links", "index-url", "extra-index-url"):
        value = entries.get(f"global.{name}", "''")[1:-1]
        for word in value.replace("\\n", " ").split():
            path = Path(word.removeprefix("file://"))
            if name == "cert":
                value = "/run/pip/certificates.pem"
                options.append(f"--volume={path}:{value}:ro")
            elif path.is_absolute() and path.exists():
                options.append(f"--volume={_mounted_folder(path)}:{_mounted_folder(path)}:ro")
        if value:
            settings["global"][name] = value.replace("\\n", " ")
    if "find-links" in settings["global"]:
        options.append("--build-arg=TORCH_INDEX=")  # packages of its own are all that such a machine reaches
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    return [*dict.fromkeys(options), f"--volume={folder}/pip.conf:/etc/pip.conf:ro"]


def _mounted_folder(path: Path) -> Path:
    """Pages of an index link to the files of the folder above it."""
    return path.parent if path.name == "simple" else path
