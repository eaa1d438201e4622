"""The shop's own commands as real processes."""

import subprocess
import sys
import time
from pathlib import Path

import httpx

_READY_SECONDS = 60.0  # longest time until a service is ready
_POLL_SECONDS = 0.1


def start_command(folder: Path, *arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """Start a command of a shop in a process of its own.

    Args:
        folder: the shop's folder.
        arguments: the command with its options.

    Returns:
        The process and, for ``serve``, the address that it listens on.
    """
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *arguments]
    stderr = subprocess.PIPE if arguments[0] == "serve" else None
    process = subprocess.Popen(command, stderr=stderr, text=True)  # noqa: S603
    first_line = process.stderr.readline().strip() if process.stderr else ""
    return process, first_line.removeprefix("listening on ")


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
