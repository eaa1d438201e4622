"""The shop's own commands as real processes."""

import subprocess
import sys
import time
from pathlib import Path

import httpx

_READY_SECONDS = 60.0


def start_command(folder: Path, *arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """A command of this shop in a process of its own; for ``serve`` also the address that it listens on."""
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE if arguments[0] == "serve" else None, text=True)  # noqa: S603
    line = process.stderr.readline().strip() if process.stderr else ""
    return process, line.removeprefix("listening on ")


def wait_until_ready(client: httpx.Client) -> None:
    """Until the service is ready. Raises RuntimeError when it is not in a minute."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS:.0f} s")
