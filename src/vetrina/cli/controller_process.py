"""A controller in a process beside the service, so that a run takes none of the service's time.

The controller ends with the service, however that ends.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_STOP_SECONDS = 30.0  # time for a controller to end what it has under way, before it is killed


class ControllerProcess:
    """``vetrina operate`` of one shop, started at once.

    Its standard input ends with this process, however that ends, and then the controller stops. It has a session of its own: what
    a terminal sends, such as Ctrl-C, reaches this process alone, which stops the controller when the service has finished its
    requests.

    Args:
        shop_dir: the shop's folder.
        echo: prints a line where the controller ends without being stopped.
    """

    def __init__(self, shop_dir: Path, echo: Callable[[str], None]) -> None:
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop_dir), "operate", "--until-input-ends"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
        self._echo = echo
        self._stopping = False
        self._watcher = threading.Thread(target=self._watch, name="controller", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the controller, by force if it takes too long. The next controller continues a run that is under way."""
        self._stopping = True
        self._process.terminate()
        self._watcher.join(_STOP_SECONDS)
        if self._watcher.is_alive():
            self._process.kill()
            self._watcher.join()

    def _watch(self) -> None:
        status = self._process.wait()
        if not self._stopping:
            self._echo(
                f"the controller ended (status {status}): releases and runs stand still until vetrina operate runs"
            )


def exit_on_signals() -> None:
    """Make SIGTERM, and SIGHUP unless it is ignored (nohup), end this process by SystemExit with status 0, so that it cleans up.

    A server that handles SIGTERM itself finishes its requests before that.
    """
    signal.signal(signal.SIGTERM, _exit)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _forward_as_sigterm)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _forward_as_sigterm(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
