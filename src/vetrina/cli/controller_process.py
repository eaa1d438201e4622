"""A controller in a process of its own beside a service: a run must not take the service's time. It ends with the service."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_PATIENCE = 30.0  # seconds in which a controller may end what it has under way


class ControllerProcess:
    """``vetrina operate`` of one shop, started at once.

    Its standard input ends with this process, however that ends, and then it stops. It has a session of its own: what a terminal
    sends, such as Ctrl-C, reaches this process alone, which stops it when the service has finished its requests.
    """

    def __init__(self, shop: Path, say: Callable[[str], None]) -> None:
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), "operate", "--until-input-ends"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
        self._say = say
        self._stopping = False
        self._watcher = threading.Thread(target=self._watch, name="controller", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End it, by force if it takes too long. A run that it has under way goes on with the next controller."""
        self._stopping = True
        self._process.terminate()
        self._watcher.join(_PATIENCE)
        if self._watcher.is_alive():
            self._process.kill()
            self._watcher.join()

    def _watch(self) -> None:
        status = self._process.wait()
        if not self._stopping:
            self._say(
                f"the controller ended (status {status}): releases and runs stand still until vetrina operate runs"
            )


def exit_on_signals() -> None:
    """SIGTERM, and SIGHUP unless it is ignored (nohup), end this process by SystemExit with status 0, so that it can clean up.

    A server that handles SIGTERM itself finishes its requests before that.
    """
    signal.signal(signal.SIGTERM, _exit)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _like_sigterm)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _like_sigterm(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
