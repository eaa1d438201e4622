"""Deduplication of events and an order-independent content digest.

Rows are compared by 64-bit hashes, and the sorted hashes represent the content, so that rows need not be sorted. The order of
events is restored when they are read (``data.dataset``).
"""

from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.core.columns import ANONYMOUS_COLUMN

# Columns that are kept even if they are empty.
_ALWAYS_KEPT_COLUMNS = ("timestamp", "user_id", "type")


def deduplicate_events(events: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Events without duplicates and without empty columns, and a digest of their content.

    Events are duplicates if they have the same user and ``event_id``, or, without an id, the same values in all columns. Of
    two with the same id, one that the shop itself reports is kept before one of an anonymous sender.
    """
    events = _deduplicate_by_id(events)
    names = [name for name in sorted(events.columns) if name in _ALWAYS_KEPT_COLUMNS or not _is_empty(events[name])]
    events = events.select(names)
    hashes = events.hash_rows(seed=0)
    sorted_hashes = np.sort(hashes.to_numpy())
    is_repeated = np.r_[False, sorted_hashes[1:] == sorted_hashes[:-1]]
    if is_repeated.any():
        repeated_hashes = np.unique(sorted_hashes[is_repeated])
        events = events.filter(_is_first_occurrence(hashes, repeated_hashes))
        sorted_hashes = sorted_hashes[~is_repeated]
    schema = " ".join(f"{name}:{dtype}" for name, dtype in events.schema.items())
    digest = sha256(schema.encode() + sorted_hashes.tobytes()).hexdigest()
    return events, digest


def _is_empty(column: pl.Series) -> bool:
    return column.null_count() == len(column)


def _is_first_occurrence(hashes: pl.Series, repeated: NDArray[np.uint64]) -> pl.Series:
    """(n,) False for all but the first row of each hash in ``repeated``."""
    rows = np.flatnonzero(hashes.is_in(repeated.tolist()).to_numpy())
    _, first = np.unique(hashes.to_numpy()[rows], return_index=True)
    is_first = np.ones(len(hashes), bool)
    is_first[np.delete(rows, first)] = False
    return pl.Series(is_first)


def _deduplicate_by_id(events: pl.DataFrame) -> pl.DataFrame:
    if "event_id" not in events.columns or _is_empty(events["event_id"]):
        return events
    without_id = events.filter(pl.col("event_id").is_null())
    with_id = events.filter(pl.col("event_id").is_not_null())
    order = events.columns
    if ANONYMOUS_COLUMN in order:
        order = [ANONYMOUS_COLUMN, *order]  # null, which is the shop's own, comes first
    with_id = with_id.sort(order, nulls_last=False)
    return pl.concat([without_id, with_id.unique(["user_id", "event_id"], keep="first")])
