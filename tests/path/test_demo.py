"""The demo as a newcomer meets it, from nothing, with the lines that it prints."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy  # the whole demo twice takes longer than a suite may: `make test-all` runs it
MINUTES = 60


def demo(folder: Path, *words: str) -> list[str]:
    """A real process."""
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "demo", "--port", "0", *words]


@pytest.mark.timeout(40 * MINUTES)
def test_the_whole_life(tmp_path: Path):
    folder = tmp_path / "shop"
    done = subprocess.run(demo(folder, "--exit"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("promoted (first") == 2, done.stdout
    again = subprocess.Popen(
        demo(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have started us without it
    )
    output = _until(again, "shows every route")
    assert output.count("nothing new since") == 2, output
    for line in (li.strip() for li in output.splitlines() if li.strip().startswith("curl ")):
        answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, line
        recommended = json.loads(answer.stdout)
        assert "error" not in recommended, f"{line}\n{answer.stdout}"
        assert "items" not in recommended or recommended["items"], line
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=30)
    assert again.returncode == 130
    third = subprocess.run(demo(folder, "--exit"), capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr
    # The lines above were answers to shoppers: whom the gate lets pass meets them in the shadow first.
    assert re.search(r"recommend: recommend-\w+ (testing|returned) \(live", third.stdout), third.stdout
    assert "than recommend-" in third.stdout or "as recommend-" in third.stdout, "compared with the champion"


def _until(process: "subprocess.Popen[str]", words: str) -> str:
    """What was printed up to ``words``."""
    output = ""
    deadline = time.monotonic() + 10 * MINUTES
    assert process.stdout is not None
    while words not in output and time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            break
        output += line
    assert words in output, output
    return output
