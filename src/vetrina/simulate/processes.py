"""The shop's own commands as real processes."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx

_READY_SECONDS = 60.0  # longest time until a service is ready
_POLL_SECONDS = 0.1
_LISTENING = "listening on "
_NAME_CHARACTERS = 8


def start_command(folder: Path, *arguments: str) -> tuple["subprocess.Popen[bytes]", str]:
    """Start a command of a shop in a process of its own. A service logs to a file in the shop's folder ``work``.

    Args:
        folder: the shop's folder.
        arguments: the command with its options.

    Returns:
        The process and, for ``serve``, the address that it listens on.

    Raises:
        RuntimeError: the service ended, or does not say where it listens within a minute.
    """
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *arguments]
    if arguments[0] != "serve":
        return subprocess.Popen(command), ""  # noqa: S603
    (folder / "work").mkdir(exist_ok=True)
    # A file takes every line at once. A pipe would hold up the service as soon as nobody reads it.
    log = folder / "work" / f"serve-{uuid.uuid4().hex[:_NAME_CHARACTERS]}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)  # noqa: S603
    return process, _address(process, log)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        first_line, line_end, _ = log.read_text("utf-8").partition("\n")
        if line_end and first_line.startswith(_LISTENING):
            return first_line.removeprefix(_LISTENING)
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the service did not start: {log.read_text('utf-8')}")


def wait_until_ready(client: httpx.Client) -> None:
    """Wait until the service is ready. Raises RuntimeError where it is not within a minute."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            response = client.get("/readyz")
        except httpx.TransportError:  # it does not listen yet
            pass
        else:
            if response.status_code == 200:
                return
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS:.0f} s")
