"""Supervision of the processes that make up ``vetrina up``: the service and its controller.

Each is restarted when it ends by itself, after a wait that doubles with every quick end, for ever: once the cause is gone, nobody
has to start it by hand. All end together, whatever ends the supervisor.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from vetrina.core.errors import BadInput

_STOP_SECONDS = 30.0  # that processes get to end what they have under way, before they are killed
_FIRST_WAIT_SECONDS = 1.0  # before a restart; doubled each time
_MAX_WAIT_SECONDS = 60.0
_STEADY_SECONDS = 60.0  # after which an end counts as the first one again


class SupervisedProcess:
    """A ``vetrina`` command of one shop, started at once and again whenever it ends by itself.

    Its standard input ends with this process, however that ends, and then the command stops. It has a session of its own: what a
    terminal sends, such as Ctrl-C, reaches this process alone.

    Args:
        name: what the process is, for the log.
        shop_dir: the shop's folder.
        arguments: the command and its options.
        echo: prints a line where the process ends without being stopped.
        refused: called with the exit status if the first start ends with that of bad input, which no restart cures; None to go on
            trying.
    """

    def __init__(
        self,
        name: str,
        shop_dir: Path,
        arguments: Sequence[str],
        echo: Callable[[str], None],
        refused: Callable[[int], None] | None = None,
    ) -> None:
        self._name = name
        self._command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop_dir), *arguments]
        self._echo = echo
        self._refused = refused
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # of a start and a stop
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, name=name, daemon=True)
        self._watcher.start()

    def ask_to_end(self) -> None:
        """Let the process end, and start it no more."""
        with self._lock:
            self._stopping.set()
            self._process.terminate()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the process has ended, and end it by force if that takes longer than ``seconds``."""
        self._watcher.join(seconds)
        if self._watcher.is_alive():
            self._process.kill()
            self._watcher.join()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603

    def _watch(self) -> None:
        wait_seconds = _FIRST_WAIT_SECONDS
        is_first_start = True
        while True:
            started_at = time.monotonic()
            status = self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            if self._stopping.is_set():
                return
            was_steady = time.monotonic() - started_at >= _STEADY_SECONDS
            if is_first_start and not was_steady and status == BadInput.exit_status and self._refused is not None:
                self._refused(status)
                return
            is_first_start = False
            if was_steady:
                wait_seconds = _FIRST_WAIT_SECONDS
            self._echo(f"the {self._name} ended (status {status}): it is started again in {wait_seconds:.0f} s")
            if self._stopping.wait(wait_seconds):
                return
            wait_seconds = min(2 * wait_seconds, _MAX_WAIT_SECONDS)
            with self._lock:
                if self._stopping.is_set():
                    return
                try:
                    self._process = self._start()
                except OSError as error:
                    # No memory, or too many processes, for the moment: the ended one is looked at again.
                    self._echo(f"the {self._name} cannot be started ({error.strerror})")


def stop_all(processes: Sequence[SupervisedProcess]) -> None:
    """End processes, all at the same time."""
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        process.ask_to_end()
    for process in processes:
        process.wait_for_end(max(0.0, deadline - time.monotonic()))


def exit_on_signals() -> None:
    """Make SIGTERM, and SIGHUP unless it is ignored (nohup), end this process by SystemExit with status 0.

    So it cleans up. The first signal counts, Ctrl-C included: none after it interrupts the cleaning.
    """
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt_once)
    signal.signal(signal.SIGTERM, _exit_once)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _exit_once)


def interrupt_on_signals() -> None:
    """Make SIGTERM end this process as Ctrl-C does: it cleans up, and its exit status says that it did not finish.

    The first signal counts: none after it interrupts the cleaning.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt_once)


def call_after_input(end: Callable[[], None]) -> None:
    """Call ``end`` once standard input ends, which it does with the supervisor."""
    threading.Thread(target=_read_input, args=(end,), daemon=True).start()


def _read_input(end: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 1_024):
        pass
    end()


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _exit_once(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    sys.exit(0)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
