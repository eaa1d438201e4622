"""How long work tells a person where it is. Silent unless someone listens."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Step(Protocol):
    """One long step under way."""

    def advance(self, amount: float = 1.0) -> None:
        """Say that ``amount`` more units are done."""
        ...


class Progress(Protocol):
    """Opens steps."""

    def step(self, title: str, total: float) -> AbstractContextManager[Step]:
        """A step of ``total`` units, shown until the context ends."""
        ...

    def message(self, text: str) -> None:
        """One line, such as what will be done."""
        ...


class NoProgress:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def advance(self, amount: float = 1.0) -> None:
        """Do nothing."""

    @contextmanager
    def step(self, title: str, total: float) -> Iterator[Step]:
        """A step nobody sees."""
        yield self


def track(progress: Progress, title: str, items: Sequence[T]) -> Iterator[T]:
    """Yield ``items`` and advance a step after each."""
    with progress.step(title, len(items)) as step:
        for item in items:
            yield item
            step.advance()
