"""Rows that a database refuses, found by halving the group that they are in."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DataError, IntegrityError

# Errors that a row causes by what it holds. Any other error is the store's, and halving would only repeat it.
ROW_ERRORS = (DataError, IntegrityError, ValueError, OverflowError)

Row = TypeVar("Row")


def write_accepted(rows: Sequence[Row], write: Callable[[Sequence[Row]], None]) -> list[Row]:
    """Write all rows that the database accepts; returns those that it refuses, in order.

    A group of n rows with k refused ones takes at most about 2 k log2(n) calls.

    Args:
        rows: The rows.
        write: Writes rows in a transaction of its own, all or none.

    Raises:
        Exception: The error of ``write``, unless a row is to blame for it; rows before it may be written.
    """
    if not rows:
        return []
    try:
        write(rows)
    except ROW_ERRORS:
        if len(rows) == 1:
            return list(rows)
    else:
        return []
    half = len(rows) // 2
    return write_accepted(rows[:half], write) + write_accepted(rows[half:], write)
