"""Events each once, and a digest of what they say, whatever files they came in and in whatever order.

Rows are compared by a hash of 64 bits; their sorted hashes stand for the content, so nothing needs to be sorted by text or
moved. Whoever reads events puts them in order (``store.dataset``).
"""

from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

_ALWAYS_KEPT_COLUMNS = ("timestamp", "user_id", "type")


def deduplicate_events(events: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Events each once, by ``event_id`` where there is one, else by all columns; and their digest. Empty columns are left out."""
    events = _deduplicate_by_id(events)
    names = [c for c in sorted(events.columns) if c in _ALWAYS_KEPT_COLUMNS or events[c].null_count() < len(events)]
    events = events.select(names)
    hashes = events.hash_rows(seed=0)
    content = np.sort(hashes.to_numpy())
    again = np.r_[False, content[1:] == content[:-1]]
    if again.any():
        events = events.filter(_is_first_occurrence(hashes, np.unique(content[again])))
        content = content[~again]
    schema = " ".join(f"{n}:{t}" for n, t in events.schema.items())
    return events, sha256(schema.encode() + content.tobytes()).hexdigest()


def _is_first_occurrence(hashes: pl.Series, repeated: NDArray[np.uint64]) -> pl.Series:
    """Which rows to keep: those whose hash is not among the ``repeated``, and the first of each that is."""
    rows = np.flatnonzero(hashes.is_in(repeated.tolist()).to_numpy())
    _, first = np.unique(hashes.to_numpy()[rows], return_index=True)
    kept = np.ones(len(hashes), bool)
    kept[np.delete(rows, first)] = False
    return pl.Series(kept)


def _deduplicate_by_id(events: pl.DataFrame) -> pl.DataFrame:
    if "event_id" not in events.columns or events["event_id"].null_count() == len(events):
        return events
    named = events.filter(pl.col("event_id").is_not_null()).sort(events.columns)
    return pl.concat([events.filter(pl.col("event_id").is_null()), named.unique("event_id", keep="first")])
