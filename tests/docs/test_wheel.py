"""The wheel that `make dist` builds: it holds the whole package and works where no clone is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path, path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def wheel(tmp_path) -> Path:
    """Built as the Makefile builds it."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", ROOT, cwd=tmp_path)
    return next((tmp_path / "dist").glob("vetrina-*.whl"))


@pytest.mark.deploy
def test_the_wheel_holds_every_file_of_the_package_and_runs(wheel, tmp_path):
    tracked = _run("git", "ls-files", "src/vetrina", cwd=ROOT).split()
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert not [name for name in tracked if name.removeprefix("src/") not in packed]
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "install", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    imported = _run(sys.executable, "-c", "import vetrina; print(vetrina.__file__)", cwd=tmp_path, path=str(site))
    assert Path(imported.strip()).is_relative_to(site)
    version = _run(sys.executable, "-m", "vetrina.cli", "--version", cwd=tmp_path, path=str(site))
    assert version.split()[-1] == wheel.name.split("-")[1]
    _run(sys.executable, "-m", "vetrina.cli", "init", "shop", cwd=tmp_path, path=str(site))
    assert (tmp_path / "shop/vetrina.toml").exists()
