"""Events in one order and each once, whatever files they came in."""

import polars as pl

_PACKED = "_packed"


def tidy(events: pl.DataFrame) -> pl.DataFrame:
    """Events by time, user, type and product, each once: by ``event_id`` where there is one, else by all columns."""
    events = _once_by_id(events)
    keys = [c for c in ("user_id", "type", "product_id") if c in events.columns]
    ordered = events.with_columns(_packed(events, keys)).sort("timestamp", _PACKED)
    tied = (pl.col("timestamp") == pl.col("timestamp").shift()) & (pl.col(_PACKED) == pl.col(_PACKED).shift())
    tied = tied.fill_null(False)
    loose = ordered.select((tied | tied.shift(-1, fill_value=False)).alias("loose"))["loose"]
    if loose.any():
        # Rows that agree on the keys need a closer look: equal in all columns they are one event, else the rest orders them.
        rest = [c for c in ordered.columns if c not in ("timestamp", _PACKED)]
        close = ordered.filter(loose).unique().sort("timestamp", _PACKED, *rest)
        ordered = pl.concat([ordered.filter(~loose), close]).sort("timestamp", _PACKED, maintain_order=True)
    return ordered.select("timestamp", *keys, pl.exclude("timestamp", _PACKED, *keys))


def _packed(events: pl.DataFrame, keys: list[str]) -> pl.Series:
    """One number a row that sorts like the text of ``keys``: comparing numbers is many times faster than text."""
    packed = pl.Series(_PACKED, [0], dtype=pl.UInt64).new_from_index(0, len(events))
    for name in keys:
        text = events[name].cast(pl.String)
        values = text.drop_nulls().unique().sort()
        rank = text.cast(pl.Enum(values)).to_physical().cast(pl.UInt64) + 1
        packed = packed * (len(values) + 1) + rank.fill_null(0)
    return packed.alias(_PACKED)


def _once_by_id(events: pl.DataFrame) -> pl.DataFrame:
    if "event_id" not in events.columns or events["event_id"].null_count() == len(events):
        return events
    named = events.filter(pl.col("event_id").is_not_null()).sort(events.columns)
    return pl.concat([events.filter(pl.col("event_id").is_null()), named.unique("event_id", keep="first")])
