"""The lake: one Parquet part for every file ever given, and the order in which they came."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from vetrina.core.errors import BadInput
from vetrina.core.files import beside, digest_of, write_bytes
from vetrina.ingest.read import read_raw, read_table

NameUsers = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Part:
    """One normalised file."""

    table: str
    digest: str
    rows: int
    quarantined: int
    label: str = ""


class Lake:
    """Parts of one shop. ``name_users`` turns user ids into pseudonyms: ids never reach the lake."""

    def __init__(self, folder: Path, mapping: dict[str, dict[str, str]], name_users: NameUsers) -> None:
        self._folder, self._mapping, self._name_users = folder, mapping, name_users
        self.parts = self._load()

    def path(self, part: Part) -> Path:
        """The Parquet file of a part."""
        return self._folder / part.table / f"{part.digest}.parquet"

    def add(self, table: str, file: Path, label: str = "") -> bool:
        """Read a file into a part. False if the same file was given before."""
        if not file.exists():
            raise BadInput(str(file), "does not exist", "check the name")
        names = sorted(self._mapping.get(table, {}).items())
        digest = sha256(f"{digest_of(file)} {table} {names} {label}".encode()).hexdigest()
        if any(p.digest == digest for p in self.parts):
            return False
        rows, bad = self._read(table, file, label)
        if table == "table":
            self.parts = [p for p in self.parts if p.table != "table"]  # a new table replaces the old one
        part = Part(table, digest, len(rows), len(bad), label)
        with beside(self.path(part)) as temporary:
            rows.write_parquet(temporary, compression="lz4", statistics=False)
        if len(bad):
            with beside(self._folder / "quarantine" / f"{table}-{digest[:12]}.csv") as temporary:
                bad.select(c for c in bad.columns if not bad.schema[c].is_nested()).write_csv(temporary)
        self.parts.append(part)
        return True

    def commit(self) -> None:
        """Make the added parts part of the lake, all or none."""
        content = msgspec.json.format(msgspec.json.encode(self.parts), indent=1)
        write_bytes(self._folder / "parts.json", content)

    def _load(self) -> list[Part]:
        index = self._folder / "parts.json"
        return msgspec.json.decode(index.read_bytes(), type=list[Part]) if index.exists() else []

    def _read(self, table: str, file: Path, label: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        if table == "table":
            raw = read_raw(file)
            if label not in raw.columns:
                found = ", ".join(raw.columns[:12])
                raise BadInput(f"{file}: column {label!r}", "is the label and missing", f"--label one of: {found}")
            return raw, raw.clear()
        good, bad = read_table(file, table, self._mapping.get(table, {}))
        if good.is_empty():
            raise BadInput(str(file), f"has no usable row (row 0: {bad['_reason'][0]})", "correct the export")
        good = good.drop("email", strict=False)  # no model needs it, and the lake holds no plain identity
        if "user_id" in good.columns:
            good = self._pseudonymise(good)
            bad = bad.with_columns(pl.lit("(withheld)").alias("user_id")) if len(bad) else bad
        return (tidy(good) if table == "events" else good), bad

    def _pseudonymise(self, frame: pl.DataFrame) -> pl.DataFrame:
        ids = frame["user_id"].unique().sort()
        names = pl.Series("user_id", self._name_users(ids.to_list()), dtype=pl.String)
        return frame.with_columns(pl.col("user_id").replace_strict(ids, names).cast(pl.Categorical))


def tidy(events: pl.DataFrame) -> pl.DataFrame:
    """Events in one order, each once: by ``event_id`` where there is one, else by all columns."""
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


_PACKED = "_packed"


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
