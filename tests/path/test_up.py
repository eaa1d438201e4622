"""`vetrina up` as real processes: the service and its controller begin and end together, whatever ends them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from vetrina import Shop
from vetrina.store.leases import Lease

SECONDS = 120  # no machine is so slow


class Up:
    """A service with its controller, both at work."""

    def __init__(self, shop: Path) -> None:
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), "up", "--port", "0"]
        self._log = shop.parent / "up.log"
        with self._log.open("w") as file:
            self.service = subprocess.Popen(command, stderr=file, start_new_session=True)
        self.address = self.says(lambda line: "listening on" in line).split()[-1]
        self.says(lambda line: "this controller leads" in line)
        (self.controller,) = psutil.Process(self.service.pid).children()

    def says(self, what: Callable[[str], bool]) -> str:
        """The first line that is meant, of those that either process has printed or prints yet."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            lines = self.printed().splitlines(keepends=True)
            found = next((line for line in lines if line.endswith("\n") and what(line)), None)
            if found is not None:
                return found
            time.sleep(0.05)
        raise AssertionError(f"it said only {self.printed()}")

    def printed(self) -> str:
        """All that either process has printed until now."""
        return self._log.read_text()


@pytest.fixture
def shop(predicting, tmp_path) -> Path:
    """A released shop of its own, in which nothing is due."""
    folder = Path(shutil.copytree(predicting[0], tmp_path / "shop"))
    (folder / "vetrina.toml").write_text("[operate]\ncheck_interval_minutes = 1e9\n")
    return folder


@pytest.fixture
def up(shop) -> Iterator[Up]:
    """Whatever a test leaves of it is killed."""
    found = Up(shop)
    yield found
    if found.service.poll() is None:
        found.service.kill()
    if found.controller.is_running():
        found.controller.kill()
    found.service.wait()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_both_end_however_the_service_is_ended(shop, up, sent, status):
    assert os.getpgid(up.controller.pid) != up.service.pid, "Ctrl-C must not end it before the service is through"
    os.killpg(up.service.pid, sent)  # as a terminal does
    assert up.service.wait(SECONDS) == status
    assert psutil.wait_procs([up.controller], SECONDS)[1] == []
    assert "the controller ended" not in up.printed(), "it did not end by itself"
    opened = Shop(shop)
    assert Lease(opened.shop_context.engine, "operate", "another", 15.0).acquire_or_renew(), (
        "it gave up the lead as it ended"
    )
    opened.shop_context.engine.dispose()


def test_a_controller_that_ends_by_itself_is_missed(up):
    up.controller.kill()
    assert "releases and runs stand still" in up.says(lambda line: "the controller ended" in line)
    assert httpx.get(f"{up.address}/healthz", timeout=SECONDS).text == "ok"
    up.service.send_signal(signal.SIGTERM)
    assert up.service.wait(SECONDS) == 0
