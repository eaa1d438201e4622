"""The command line in real processes: help, output, error lines and exit statuses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import shops
from click.testing import CliRunner

from vetrina import Shop
from vetrina.cli.main import cli
from vetrina.core.errors import BadInput


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The result of a command in a process of its own."""
    command = [sys.executable, "-m", "vetrina.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False)


def test_every_command_has_help_that_says_what_it_does():
    for name, command in cli.commands.items():
        result = CliRunner().invoke(cli, [name, "--help"])
        assert result.exit_code == 0, name
        assert command.help, name


def test_every_command_stands_in_one_group_of_the_help():
    text = CliRunner().invoke(cli, ["--help"]).stdout
    _, *sections = re.split(r"^(\w+):\n", text[text.index("Options:") :], flags=re.M)
    titles = sections[::2]
    assert titles == ["Options", "Start", "Data", "Ask", "Train", "Release", "Operate", "Deploy"]
    listed = []
    for section in sections[3::2]:
        listed += re.findall(r"^  ([\w-]+) ", section, flags=re.M)
    assert sorted(listed) == sorted(cli.commands)


def test_help_shows_the_whole_first_sentence_of_every_command():
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).stdout
    assert "..." not in text[text.index("Start:") :]


@pytest.mark.parametrize(
    ("old", "new", "arguments"),
    [
        ("--plant", "--inject", ["simulate", "--plant", "worse"]),
        ("--looks", "--by-image", ["similar", "p1", "--looks"]),
        ("--looks", "--by-image", ["similar", "--looks", "p1"]),
        ("--like", "--seed-users", ["audience", "--like", "users.csv"]),
        ("--note", "--mark-contacted", ["audience", "p1", "--note", "--out", "a.csv"]),
        ("--no-note", "--no-mark-contacted", ["audience", "p1", "--no-note"]),
        ("--products", "--max-products", ["export", "--products", "500"]),
        ("--limit", "--slots", ["ads", "u1", "--limit=3"]),
        ("--id", "--run-id", ["run", "--id", "r1"]),
    ],
)
def test_the_old_name_of_an_option_is_refused_with_the_new_one(tmp_path, old, new, arguments):
    result = CliRunner().invoke(cli, ["--shop-dir", str(tmp_path), *arguments])
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_status == 2
    assert str(result.exception) == f"{old}: was renamed; use {new}"
    assert not list(tmp_path.iterdir())


def test_the_old_name_of_an_option_is_not_in_the_help():
    text = CliRunner().invoke(cli, ["simulate", "--help"]).stdout
    assert "--inject" in text
    assert "--plant" not in text


def test_help_loads_no_data_or_training_library():
    code = (
        "import sys; sys.argv = ['vetrina', '--help']\n"
        "from vetrina.cli.main import cli; cli.main(standalone_mode=False)\n"
        "print([m for m in ('torch', 'polars', 'numpy', 'sqlalchemy', 'litestar', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_is_documented():
    text = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text()
    for name in cli.commands:
        assert f"vetrina {name}" in text, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingest"], "holds no data yet"),
        (["ingest", "--products", "nowhere.csv"], "does not exist"),
        (["run"], "holds no data yet"),
        (["run", "astrology"], "predict, recommend, search"),
        (["show", "nothing"], "is no version"),
        (["search"], "QUERY"),
        (["run", "--budget", "soon"], "write it like 90s, 10m or 2h"),
        (["run", "--id", "r1"], "--id: was renamed; use --run-id"),
        (["bench", "quality"], "no released version"),
        (["serve"], "nothing released"),
        (["--shop-dir"], "requires an argument"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, words):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in run("--debug", "ingest", cwd=tmp_path).stderr


def test_an_unknown_scenario_is_refused_with_the_known_ones(trained):
    result = run("--shop-dir", trained[0], "run", "astrology")
    assert result.returncode == 2
    assert "predict, recommend, search" in result.stderr


def test_a_port_in_use_is_reported(trained):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("--shop-dir", trained[0], "serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert "is in use" in result.stderr


def test_a_second_process_that_writes_to_a_shop_is_refused(tmp_path):
    from vetrina.core.files import exclusive_lock

    files = shops.checkerboard(tmp_path)
    with exclusive_lock(tmp_path / "s"):
        result = run("--shop-dir", tmp_path / "s", "ingest", "--products", files["products"])
    assert result.returncode == 2
    assert "another vetrina process" in result.stderr
    assert run("--shop-dir", tmp_path / "s", "ingest", "--products", files["products"]).returncode == 0


def test_a_table_of_ten_rows_is_refused_with_the_reason(tmp_path):
    table = shops.table(tmp_path, rows=10)
    assert run("--shop-dir", tmp_path / "s", "ingest", "--table", table).returncode == 0
    result = run("--shop-dir", tmp_path / "s", "validate", "predict")
    assert result.returncode == 2
    assert "10 rows, fewer than 50" in result.stdout
    assert run("--shop-dir", tmp_path / "s", "run", "predict").returncode == 2


def test_init_writes_settings_that_load(tmp_path):
    assert run("init", tmp_path / "new").returncode == 0
    from vetrina.core.settings import Settings, load

    assert load(tmp_path / "new" / "vetrina.toml") == Settings()
    assert run("init", tmp_path / "new").returncode == 2


def test_answers_as_json_and_in_batch(trained, tmp_path):
    shop, _ = trained
    result = json.loads(run("--shop-dir", shop, "--json", "search", "red shoes", "--limit", "2").stdout)
    assert [r["rank"] for r in result] == [1, 2]
    (tmp_path / "q.csv").write_text("query\nred shoes\nblue lamp\n")
    (tmp_path / "u.csv").write_text("user_id\nu000\nu001\n")
    (tmp_path / "s.jsonl").write_text(json.dumps({"session_id": "a", "product_ids": ["p000", "p002"]}))
    (tmp_path / "p.csv").write_text("product_id\np003\n")
    batches = {
        ("search", "--queries", "q.csv"): "query",
        ("recommend", "--users", "u.csv"): "user_id",
        ("recommend", "--sessions", "s.jsonl"): "session_id",
        ("similar", "--products", "p.csv"): "product_id",
    }
    for (command, option, name), key in batches.items():
        out = tmp_path / f"{key}-{command}.csv"
        done = run("--shop-dir", shop, command, option, tmp_path / name, "--out", out, "--limit", "3")
        assert done.returncode == 0, done.stderr
        header = out.read_text().splitlines()[0]
        assert header.split(",")[:2] == [key, "rank"]
        assert header.endswith("product_id,score")


def test_predict_in_batch(predicting, tmp_path):
    shop, table = predicting
    out = tmp_path / "out.parquet"
    assert run("--shop-dir", shop, "predict", "--table", table, "--out", out).returncode == 0
    frame = pl.read_parquet(out)
    assert frame.columns == ["row", "probability", "prediction"]
    truth = pl.read_csv(table)["label"].cast(bool)
    assert (frame["prediction"] == truth).mean() > 0.85
    assert run("--shop-dir", shop, "predict", "[1, 2").returncode == 2
    assert "no JSON" in run("--shop-dir", shop, "predict", "[1, 2").stderr


def test_ctrl_c_ends_with_130_and_the_next_run_continues(tmp_path):
    files = shops.checkerboard(tmp_path, users=80, items=40, days=60)
    shop = tmp_path / "shop"
    assert (
        run("--shop-dir", shop, "ingest", "--products", files["products"], "--events", files["events"]).returncode == 0
    )
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), "run", "recommend"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for _ in range(600):  # until it trains, however busy the machine is
        if (shop / "work" / "recommend" / "fit").exists():
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, stderr = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "Traceback" not in stderr
    assert run("--shop-dir", shop, "run", "recommend").returncode == 0
    assert "*" in run("--shop-dir", shop, "versions").stdout


def test_versions_are_shown_compared_reported_and_promoted(trained):
    shop = trained[0]
    versions = json.loads(run("--shop-dir", shop, "--json", "versions").stdout)
    name = versions[0]["version"]
    assert json.loads(run("--shop-dir", shop, "--json", "show", name).stdout)["version"] == name
    assert run("--shop-dir", shop, "compare", name, "search@champion").returncode == 0
    assert "retrain: no" in run("--shop-dir", shop, "status").stdout
    assert run("--shop-dir", shop, "report", name).stdout.strip().endswith(".html")
    assert run("--shop-dir", shop, "rollback", "search").returncode == 2
    assert run("--shop-dir", shop, "promote", name).returncode == 0


def test_a_disk_that_fills_up_is_one_line_and_leaves_the_shop_as_it_was(tmp_path):
    files = shops.checkerboard(tmp_path, users=100, items=40, days=60)
    shop = tmp_path / "shop"
    assert run("--shop-dir", shop, "ingest", "--products", files["products"]).returncode == 0
    before = {f.name: f.read_bytes() for f in (shop / "lake").rglob("*") if f.is_file()}
    # No file may grow past 20 kB: to the program that is a disk with no room left.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "sys.argv = ['vetrina', *sys.argv[1:]]; from vetrina.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "--shop-dir", str(shop), "ingest", "--events", str(files["events"])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    # 75 where the first file that does not fit is one of the store's, which grow or not as processes before have closed them.
    assert result.returncode in (2, 75), result.stderr
    assert "Traceback" not in result.stderr
    assert "free space" in result.stderr
    after = {f.name: f.read_bytes() for f in (shop / "lake").rglob("*") if f.is_file()}
    assert before == after
    assert run("--shop-dir", shop, "ingest", "--events", files["events"]).returncode == 0


def test_the_verdict_can_be_the_exit_status(pristine, tmp_path):
    """Of a run that finds nothing new, it is the last verdict on the same recipe."""
    folder = shutil.copytree(pristine[0], tmp_path / "shop")
    command = ["--shop-dir", str(folder), "run", "search", "recommend"]
    assert CliRunner().invoke(cli, [*command, "--fail-on-verdict"]).exit_code == 0
    shop = Shop(folder)
    registry = shop.shop_context.registry
    verdict = registry.get_version(registry.find_reference("search@champion")).verdict
    assert verdict is not None
    registry.record_verdict(replace(verdict, id="later", outcome="fail"))
    shop.shop_context.engine.dispose()
    failed = CliRunner().invoke(cli, [*command, "--fail-on-verdict"])
    assert failed.exit_code == 3
    assert "the gate failed the last version of this recipe" in failed.stdout
    assert CliRunner().invoke(cli, command).exit_code == 0
    (folder / "vetrina.toml").write_text("[weights]\nview = 0.3\n")
    assert Shop(folder).last_verdict("search") is None, "another recipe has a verdict of its own"
