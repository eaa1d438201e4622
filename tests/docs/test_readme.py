"""The README: short enough to be read, and its minute with curl does what it says."""

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from vetrina.simulate.processes import start_command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8337"
SECONDS = 60


@pytest.fixture
def address(trained) -> Iterator[str]:
    """The checkerboard shop, serving: its products have the ids of the README's, and follow each other as they do there."""
    server, url = start_command(trained[0], "serve", "--port", "0")
    try:
        _wait_until_ready(url)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=SECONDS)


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=SECONDS).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not become ready")


def _answer(command: str, address: str) -> dict:
    words = shlex.split(command.replace(ADDRESS, address))
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=SECONDS).stdout)


def test_it_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_in_the_minute_with_curl_an_event_changes_the_next_recommendation(address):
    commands = re.findall(r"^curl .*$", README, re.M)
    product_ids = re.findall(r'"product_id": "(p\d+)"', README.split("```\n...")[1].split("```")[0])
    assert len(commands) == 3
    first, event, second = (_answer(command, address) for command in commands)
    before = [item["product_id"] for item in first["items"]]
    after = [item["product_id"] for item in second["items"]]
    assert event == {"accepted": 1, "new": 1}
    assert before != after
    assert after[0] == product_ids[2]  # the README shows two products of each answer
    assert product_ids[2] not in before
