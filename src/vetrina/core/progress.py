"""Progress reporting for long-running steps. Silent by default."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Step(Protocol):
    """A running step."""

    def advance(self, amount: float = 1.0) -> None:
        """Report that ``amount`` more units of the step are done."""
        ...


class Progress(Protocol):
    """Reports steps and messages."""

    def step(self, title: str, total: float) -> AbstractContextManager[Step]:
        """A context in which a step of ``total`` units runs."""
        ...

    def message(self, text: str) -> None:
        """Report one line of text."""
        ...


class NoProgress:
    """Reports nothing."""

    def message(self, text: str) -> None:
        """Report nothing."""

    def advance(self, amount: float = 1.0) -> None:
        """Report nothing."""

    @contextmanager
    def step(self, title: str, total: float) -> Generator[Step]:
        """A step that reports nothing."""
        yield self


def track(progress: Progress, title: str, items: Sequence[T]) -> Iterator[T]:
    """Yield ``items`` and advance a step after each of them.

    Args:
        progress: Where the step is reported.
        title: Title of the step.
        items: What is iterated over.
    """
    with progress.step(title, len(items)) as step:
        for item in items:
            yield item
            step.advance()
