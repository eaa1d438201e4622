"""`vetrina up` as real processes: the service and its controller begin and end together, whatever ends them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from vetrina import Shop
from vetrina.store.leases import Lease

SECONDS = 120  # no machine is so slow


def _heed_hangup() -> None:
    """Whoever runs the tests may ignore SIGHUP (nohup), and `up` would then do so as well."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Up:
    """A service with its controller, both at work."""

    def __init__(self, shop: Path) -> None:
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), "up", "--port", "0"]
        self.supervisor = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_heed_hangup
        )
        self.shop = shop
        self._said: list[str] = []
        self.address = self.says(lambda line: "listening on" in line).split()[-1]
        self.says(lambda line: "this controller leads" in line)
        self.service = self.child("serve")
        self.controller = self.child("operate")

    def child(self, command: str) -> psutil.Process:
        """The process that executes a command at the moment."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for process in psutil.Process(self.supervisor.pid).children():
                with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if command in process.cmdline():
                        return process
            time.sleep(0.05)
        raise AssertionError(f"no process executes {command}")

    def says(self, what: Callable[[str], bool]) -> str:
        """The first line that is meant, of those that either process has printed or prints yet."""
        assert self.supervisor.stderr is not None
        while True:
            message = next(filter(what, self._said), None)
            if message is not None:
                return message
            line = self.supervisor.stderr.readline()
            assert line, f"it ended and said only {self._said}"
            self._said.append(line)

    def rest(self) -> str:
        """All that was printed until both had ended."""
        assert self.supervisor.stderr is not None
        return "".join([*self._said, self.supervisor.stderr.read()])


@pytest.fixture
def shop(predicting, tmp_path) -> Path:
    """A released shop of its own, in which nothing is due."""
    folder = Path(shutil.copytree(predicting[0], tmp_path / "shop"))
    (folder / "vetrina.toml").write_text("[operate]\ncheck_interval_minutes = 1e9\n")
    return folder


def command_of(process: psutil.Process) -> list[str]:
    """The words of its command; none of a process that has ended."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.fixture
def up(shop) -> Iterator[Up]:
    """Whatever a test leaves of it is killed."""
    running = Up(shop)
    yield running
    if running.supervisor.poll() is None:
        running.supervisor.kill()
    for process in (running.service, running.controller):
        if process.is_running():
            process.kill()
    running.supervisor.communicate()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_all_end_however_the_supervisor_is_ended(shop, up, sent, status):
    groups = {os.getpgid(process.pid) for process in (up.service, up.controller)}
    assert up.supervisor.pid not in groups, "Ctrl-C must not end them before their work is through"
    os.killpg(up.supervisor.pid, sent)  # as a terminal does
    assert up.supervisor.wait(SECONDS) == status
    assert psutil.wait_procs([up.service, up.controller], SECONDS)[1] == []
    assert "it is started again" not in up.rest(), "none ended by itself"
    opened = Shop(shop)
    assert Lease(opened.shop_context.engine, "operate", "another", 15.0).acquire_or_renew(), (
        "it gave up the lead as it ended"
    )
    opened.shop_context.engine.dispose()


def test_a_second_signal_does_not_leave_them_behind(up):
    """A supervisor of the supervisor may send SIGTERM after a Ctrl-C that all of a terminal's processes got."""
    up.supervisor.send_signal(signal.SIGINT)
    up.supervisor.send_signal(signal.SIGTERM)
    up.supervisor.wait(SECONDS)
    assert not [process for process in (up.service, up.controller) if process.is_running()]


def test_what_is_killed_is_started_again(up):
    up.controller.kill()
    assert "started again" in up.says(lambda line: "the controller ended" in line)
    assert up.child("operate").pid != up.controller.pid
    up.service.kill()
    up.says(lambda line: "the service ended" in line)
    up.address = up.says(lambda line: "listening on" in line and up.address not in line).split()[-1]
    assert httpx.get(f"{up.address}/healthz", timeout=SECONDS).text == "ok"
    up.supervisor.send_signal(signal.SIGTERM)
    assert up.supervisor.wait(SECONDS) == 0
    assert not [process for process in psutil.process_iter() if str(up.shop) in " ".join(command_of(process))]


def test_settings_that_are_refused_end_it(shop):
    command = [
        sys.executable,
        "-m",
        "vetrina.cli",
        "--shop-dir",
        str(shop),
        "up",
        "--port",
        "0",
        "--host",
        "no.such.host.",
    ]
    assert subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).returncode == 2
