"""Lists in chunks that fit into one SQL statement."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

_CHUNK_SIZE = 500  # parameters of one statement
_Value = TypeVar("_Value")


def chunks(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """The values, at most 500 at a time."""
    remaining = list(values)
    for start in range(0, len(remaining), _CHUNK_SIZE):
        yield remaining[start : start + _CHUNK_SIZE]
