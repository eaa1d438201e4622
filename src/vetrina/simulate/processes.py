"""The shop's own commands as real processes."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

_READY_SECONDS = 60.0  # longest time until a service is ready
_POLL_SECONDS = 0.02
_ADDRESS_LINE = re.compile(r"listening on (https?://[^\s\"]+).*\n")


def start_command(folder: Path, *arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """Start a command of a shop in a process of its own. The log of ``serve`` is a file work/serve-*.log of the shop.

    Args:
        folder: the shop's folder.
        arguments: the command with its options.

    Returns:
        The process and, for ``serve``, the address that it listens on.

    Raises:
        RuntimeError: the service does not listen within a minute.
    """
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *arguments]
    if arguments[0] != "serve":
        return subprocess.Popen(command, text=True), ""  # noqa: S603
    # A pipe that nobody reads fills, and the service would then wait for ever to write the next line of its log.
    work_folder = folder / "work"
    work_folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="serve-", suffix=".log", dir=work_folder, delete=False) as log:
        process = subprocess.Popen(command, stderr=log, text=True)  # noqa: S603
    return process, _listening_address(process, Path(log.name))


def _listening_address(process: "subprocess.Popen[str]", log: Path) -> str:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        line = _ADDRESS_LINE.search(log.read_text())
        if line:
            return line.group(1)
        time.sleep(_POLL_SECONDS)
    process.kill()
    raise RuntimeError(f"the service does not listen; {log} says why")


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
