"""Files for automation tools are what those tools take, and name only what exists."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import hcl2
import pytest
import shops
import yaml

from vetrina.cli.main import cli
from vetrina.core.settings import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MAX_LINES = 30  # of a file for a CI


def commands_of_jenkins() -> list[str]:
    text = (DEPLOY / "ci/Jenkinsfile").read_text()
    return re.findall(r"\bsh '([^']*)'", text)


def commands_of_github() -> list[str]:
    workflow = yaml.safe_load((DEPLOY / "ci/github.yml").read_text())
    steps = []
    for job in workflow["jobs"].values():
        steps += job["steps"]
    assert all(set(step) <= {"run", "if"} for step in steps)
    return [step["run"] for step in steps]


def commands_of_gitlab() -> list[str]:
    pipeline = yaml.safe_load((DEPLOY / "ci/gitlab.yml").read_text())
    commands = []
    for stage in pipeline["stages"]:
        for job in pipeline.values():
            if isinstance(job, dict) and job.get("stage") == stage:
                commands += job["script"] + job.get("after_script", [])
    return commands


CI_COMMANDS = {"Jenkinsfile": commands_of_jenkins, "github.yml": commands_of_github, "gitlab.yml": commands_of_gitlab}


@pytest.mark.parametrize("file", CI_COMMANDS)
def test_a_ci_file_is_short_and_its_only_steps_are_commands_of_vetrina(file):
    assert len((DEPLOY / "ci" / file).read_text().splitlines()) <= MAX_LINES
    commands = [shlex.split(command) for command in CI_COMMANDS[file]()]
    assert [words[:2] for words in commands] == [
        ["vetrina", name] for name in ("ingest", "validate", "run", "compare", "promote")
    ]


@pytest.mark.parametrize("file", CI_COMMANDS)
def test_the_options_of_a_ci_file_exist(file):
    for command in CI_COMMANDS[file]():
        parse(shlex.split(command)[1:])


def parse(words: list[str]) -> None:
    """Raise UsageError where the command line would; files need not exist."""
    command = cli.commands[words[0]]
    there = str(ROOT / "README.md")
    arguments = [there if word.startswith("/srv/feeds/") else word for word in words[1:]]
    command.make_context(words[0], arguments, resilient_parsing=False)


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(click.UsageError):
        parse(["run", "search", "--fail-on-verdicts"])


def run_in_order(commands: list[str], shop: Path, files: Path) -> list[tuple[str, int]]:
    """The name and exit status of each command, up to the first that fails, as a CI runs them."""
    statuses = []
    for command in commands:
        words = shlex.split(command.replace("/srv/feeds", str(files)))
        done = subprocess.run(
            [sys.executable, "-m", "vetrina.cli", *words[1:]],
            env={**os.environ, "VETRINA_SHOP": str(shop)},
            capture_output=True,
            text=True,
            check=False,
        )
        statuses.append((words[1], done.returncode))
        if done.returncode != 0:
            break
    return statuses


@pytest.mark.deploy
@pytest.mark.parametrize("file", CI_COMMANDS)
def test_the_commands_of_a_ci_file_run_in_order(file, tmp_path):
    shops.checkerboard(tmp_path, users=20, items=20, days=20)
    shop = shops.without_networks(tmp_path / "shop")
    names = ("ingest", "validate", "run", "compare", "promote")
    assert run_in_order(CI_COMMANDS[file](), shop, tmp_path) == [(name, 0) for name in names]
    # A version that the gate fails stops the pipeline, and so does a second attempt with the same data.
    (shop / "vetrina.toml").write_text(shops.WITHOUT_NETWORKS.replace("1e6", "1e-6") + "[weights]\nview = 0.3\n")
    for _ in range(2):
        assert run_in_order(CI_COMMANDS[file](), shop, tmp_path)[-1] == ("run", 3)


@pytest.fixture(scope="module")
def terraform() -> dict[str, Any]:
    with (DEPLOY / "terraform/main.tf").open() as file:
        return hcl2.load(file)


def declared(blocks: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Type, name and body of resources or data sources."""
    for block in blocks:
        for kind, names in block.items():
            for name, body in names.items():
                yield kind.strip('"'), name.strip('"'), body


def expressions(value: Any) -> Iterator[str]:
    """Every text in a value, keys aside."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)
    elif isinstance(value, str):
        yield value


def test_terraform_uses_what_it_declares_and_declares_what_it_uses(terraform):
    text = "\n".join(expressions({name: terraform[name] for name in ("resource", "data", "output")}))
    variables = {name.strip('"') for block in terraform["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    resources = {f"{kind}.{name}" for kind, name, _ in declared(terraform["resource"])}
    sources = {f"data.{kind}.{name}" for kind, name, _ in declared(terraform["data"])}
    referenced = set(re.findall(r"(?<![\w./-])(?:data\.)?aws_\w+\.\w+", text))
    assert referenced <= resources | sources
    assert sources <= referenced, "a source that nothing reads"
    kinds = {kind for kind, _, _ in declared(terraform["resource"])}
    assert kinds >= {"aws_instance", "aws_db_instance", "aws_s3_bucket", "aws_secretsmanager_secret"}


def test_the_machine_of_terraform_runs_the_images_as_they_are(terraform, tmp_path):
    (script,) = [body["user_data"] for kind, _, body in declared(terraform["resource"]) if kind == "aws_instance"]
    containerfile = (DEPLOY / "images/Containerfile").read_text()
    user = re.search(r"^USER (\d+):", containerfile, re.M)
    assert user is not None
    assert f"-o {user[1]} -g {user[1]} /srv/shop" in script
    assert "--volume /srv/shop:/shop" in script
    assert "VETRINA_SHOP=/shop" in containerfile
    commands = dict(re.findall(r"\$\{var\.(\w+)_image\} (.*)$", script, re.M))
    assert set(commands) == set(re.findall(r"^FROM runtime AS (\w+)", containerfile, re.M))
    for words in commands.values():
        parse(shlex.split(words))
    settings = re.search(r"<<TOML\n(.*?)\n\s*TOML$", script, re.M | re.S)
    assert settings is not None
    (tmp_path / "vetrina.toml").write_text(settings[1])
    store = load(tmp_path / "vetrina.toml").store
    assert store.url.startswith("postgresql://")
    assert store.bundles.startswith("s3://")


def test_the_script_of_terraform_is_a_shell_script(terraform):
    (script,) = [body["user_data"] for kind, _, body in declared(terraform["resource"]) if kind == "aws_instance"]
    lines = script.strip('"').splitlines()[1:-1]
    plain = re.sub(r"\$\{[a-z][\w.]*\}", "value", "\n".join(line.strip() for line in lines))
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ansible_takes_the_playbook_and_the_inventory():
    if shutil.which("ansible-playbook") is None:
        pytest.skip("ansible-playbook is not installed: apt-get install ansible-core")
    command = ["ansible-playbook", "--syntax-check", "-i", "inventory.yml", "site.yml"]
    done = subprocess.run(command, cwd=DEPLOY / "ansible", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.deploy
def test_settings_that_ansible_refuses_are_not_printed(tmp_path):
    """A task that fails prints its item, and the output of a playbook ends up in logs."""
    if shutil.which("ansible-playbook") is None:
        pytest.skip("ansible-playbook is not installed: apt-get install ansible-core")
    python = tmp_path / "release" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    settings = {"store": {"url": "postgresql://vetrina:geheim@127.0.0.1:1/shop"}}
    variables = {
        "vetrina_shops": [{"name": "books", "settings": settings}, {"name": "toys"}],
        "vetrina_releases": str(tmp_path),
        "vetrina_release": "release",
        "vetrina_stores": [],
        "vetrina_previous": "",
        "vetrina_is_half_upgraded": False,
    }
    role = {"name": "vetrina", "tasks_from": "check_settings"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"include_role": role}]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", tmp_path / "play.yml", "-e", json.dumps(variables)],
        env={**os.environ, "ANSIBLE_ROLES_PATH": str(DEPLOY / "ansible/roles"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "No shop was changed" in done.stdout, done.stdout + done.stderr
    assert "books: vetrina: store:" in done.stdout
    assert "geheim" not in done.stdout + done.stderr
