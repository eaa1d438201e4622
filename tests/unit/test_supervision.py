"""Supervision of processes: what it says, and that it goes on."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from vetrina.cli import supervision
from vetrina.cli.supervision import SupervisedProcess

SECONDS = 60.0  # no machine is so slow
ENDED = "the service ended (status 3): it is started again in 0 s"


def test_a_process_that_cannot_be_started_for_the_moment_is_tried_again(monkeypatch, tmp_path: Path):
    """A machine may be out of memory just when a process has to be started again."""
    monkeypatch.setattr(supervision, "_FIRST_WAIT_SECONDS", 0.0)
    start: Callable[..., Any] = subprocess.Popen
    starts: list[str] = []
    lines: list[str] = []
    is_started_again = Event()

    def start_unless_second(*arguments: Any, **options: Any) -> Any:
        starts.append("")
        if len(starts) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        if len(starts) > 2:
            is_started_again.set()
        return start([sys.executable, "-c", "raise SystemExit(3)"], **options)

    monkeypatch.setattr(subprocess, "Popen", start_unless_second)
    process = SupervisedProcess("service", tmp_path, ["serve"], lines.append)
    assert is_started_again.wait(SECONDS)
    process.ask_to_end()
    process.wait_for_end(SECONDS)
    assert lines[:3] == [ENDED, "the service cannot be started (Resource temporarily unavailable)", ENDED]


def test_what_up_says_in_json_is_in_the_log(tmp_path: Path):
    """Lines of the supervisor itself are lines of the log, as those of its processes are."""
    script = (
        "from vetrina.cli import operate, supervision\n"
        "from vetrina.cli.main import main\n"
        "def say(name, folder, arguments, echo, refused=None):\n"
        "    echo(f'the {name} ended')\n"
        "    if refused: refused(2)\n"
        "supervision.SupervisedProcess = say\n"
        "supervision.stop_all = lambda processes: None\n"
        "main()\n"
    )
    (tmp_path / "lake").mkdir()
    (tmp_path / "vetrina.toml").write_text('[log]\nformat = "json"\n')
    command = [sys.executable, "-c", script, "--shop-dir", str(tmp_path), "up"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 2
    messages = [json.loads(line)["message"] for line in ended.stderr.splitlines()]
    assert messages == ["the service ended", "the controller ended"]
