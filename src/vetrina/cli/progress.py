"""Progress on a terminal: a bar with the time left, and plain lines where standard error is no terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vetrina.core.progress import Step


class _ProgressBarStep:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: float = 1.0) -> None:
        self._progress.advance(self._task, amount)


class _SilentStep:
    def advance(self, amount: float = 1.0) -> None:
        pass


class TerminalProgress:
    """Writes to standard error, so that standard output can be piped."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def message(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False)

    @contextmanager
    def step(self, title: str, total: float) -> Iterator[Step]:
        """Show a bar while a step is under way, or without a terminal a line with its duration once it has ended."""
        if not sys.stderr.isatty():
            started = time.perf_counter()
            yield _SilentStep()
            self._console.print(f"{title}  {time.perf_counter() - started:.1f} s", highlight=False)
            return
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            yield _ProgressBarStep(progress, progress.add_task(title, total=total))
