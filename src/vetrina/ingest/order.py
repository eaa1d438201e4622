"""Events in one order and each once, whatever files they came in.

Events of one moment have no order of their own; the hash of the row gives them one that any file agrees on, and finds equal
rows without comparing text.
"""

import polars as pl

_ALWAYS = ("timestamp", "user_id", "type")


def tidy(events: pl.DataFrame) -> pl.DataFrame:
    """Events by time, each once: by ``event_id`` where there is one, else by all columns. Empty columns are left out."""
    events = _once_by_id(events)
    names = [c for c in sorted(events.columns) if c in _ALWAYS or events[c].null_count() < len(events)]
    events = events.select(names)
    keys = pl.DataFrame({"timestamp": events["timestamp"], "hash": events.hash_rows(seed=0)})
    order = keys.select(pl.arg_sort_by("timestamp", "hash")).to_series()
    keys = keys[order]
    events = events.lazy().select(pl.all().gather(order)).collect()
    repeated = keys.select(pl.all_horizontal(pl.all() == pl.all().shift()).fill_null(False).alias("r"))["r"]
    return (events.filter(~repeated) if repeated.any() else events).rechunk()


def _once_by_id(events: pl.DataFrame) -> pl.DataFrame:
    if "event_id" not in events.columns or events["event_id"].null_count() == len(events):
        return events
    named = events.filter(pl.col("event_id").is_not_null()).sort(events.columns)
    return pl.concat([events.filter(pl.col("event_id").is_null()), named.unique("event_id", keep="first")])
