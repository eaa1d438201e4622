"""What README and docs tell people to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vetrina.core import settings
from vetrina.scenarios.base import find_scenario, scenario_names

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "docs/tutorial/first-shop.md",
    ROOT / "docs/how-to/predict.md",
    ROOT / "docs/explanation/learning.md",
    ROOT / "README.md",
]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.M | re.S)
SETS_UP = ("make ", "git ", "pip ", "curl ", "export ", "cd ", "#")
TAKES_LONG = (" simulate ", " serve")  # a heavy test runs the drill, test_readme.py the server


@pytest.mark.deploy
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_run_in_order(page: Path, tmp_path: Path):
    ran = 0
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            code = [sys.executable, "-W", "error::SyntaxWarning", "-c", text]
            done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            ran += 1
            continue
        for line in filter(None, (raw.strip() for raw in text.splitlines())):
            if line.startswith(SETS_UP) or any(word in line for word in TAKES_LONG):
                continue
            words = shlex.split(line)
            assert words[0] == "vetrina", line
            command = [sys.executable, "-m", "vetrina.cli", *words[1:]]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            ran += 1
    assert ran, "a page without a block that runs is listed here by mistake"


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_settings_that_pages_name_exist():
    known = settings.Settings()
    named = 0
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        current = page.read_text().split("## Names that changed")[0]  # the glossary lists old names below
        for table, names in re.findall(r"`\[([a-z_.]+)\] ([a-z_0-9]+(?:`, `[a-z_0-9]+)*)", current):
            entry = known
            for part in table.split("."):
                entry = getattr(entry, part, None)
                assert entry is not None, f"{page}: [{table}]"
            for name in names.split("`, `"):
                assert isinstance(entry, dict) or hasattr(entry, name), f"{page}: [{table}] {name}"
                named += 1
    assert named > 50


def test_the_version_is_said_once():
    import tomllib

    from vetrina.core.version import VERSION

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_torch_is_the_pinned_one():
    import torch

    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert torch.__version__.split("+")[0] == pinned.removeprefix("torch==")


def test_the_files_of_every_scenario_hold_what_their_page_says():
    folder = ROOT / "src/vetrina/scenarios"
    files = set(re.findall(r"^\| `(\w+)\.py` \|", (folder / "README.md").read_text(), re.M))
    for name in scenario_names():
        missing = files - {file.stem for file in (folder / name).glob("*.py")}
        assert not missing, (name, missing)
        assert find_scenario(name).name == name
