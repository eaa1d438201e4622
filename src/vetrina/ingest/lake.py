"""The lake: one Parquet part for every file ever given or taken from the service's logs, in the order they came."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import xxhash

from vetrina.core.columns import TABLES
from vetrina.core.errors import BadInput
from vetrina.core.files import beside, write_bytes
from vetrina.ingest.once import once
from vetrina.ingest.read import read_raw, shape
from vetrina.store import pictures
from vetrina.store.dataset import DELETED

_ROW_GROUP = 1 << 18

NameUsers = Callable[[list[str]], list[str]]
# Pseudonyms with addresses and consent, None where a file has no such column or cell.
KeepContacts = Callable[[Sequence[str], Sequence[str | None], Sequence[str | None]], None]


@dataclass(frozen=True)
class Part:
    """One normalised file, or a stretch of a log of the service that ends at number ``logged``.

    ``digest`` tells the file given from others, ``content`` what its events say from what others say.
    """

    table: str
    digest: str
    rows: int
    quarantined: int
    label: str = ""
    logged: int = 0
    content: str = ""


class Lake:
    """Parts of one shop. ``name_users`` turns user ids into pseudonyms, ``keep_contacts`` takes addresses: neither reaches
    the lake."""

    def __init__(
        self,
        folder: Path,
        mapping: dict[str, dict[str, str]],
        name_users: NameUsers,
        keep_contacts: KeepContacts | None = None,
    ) -> None:
        self._folder, self._mapping = folder, mapping
        self._name_users, self._keep_contacts = name_users, keep_contacts
        self.parts = self._load()

    def path(self, part: Part) -> Path:
        """The Parquet file of a part."""
        return self._folder / part.table / f"{part.digest}.parquet"

    def logged(self) -> dict[str, int]:
        """The last number of each log of the service that a part holds."""
        return {t: max((p.logged for p in self.parts if p.table == t), default=0) for t in ("events", "products")}

    def add(self, table: str, file: Path, label: str = "") -> bool:
        """Read a file into a part. False if the same file was given before."""
        if not file.exists():
            raise BadInput(str(file), "does not exist", "check the name")
        names = sorted(self._mapping.get(table, {}).items())
        digest = sha256(f"{_fingerprint(file)} {table} {names} {label}".encode()).hexdigest()
        if any(p.digest == digest for p in self.parts):
            return False
        rows, bad = self._read(table, file, label)
        if table == "table":
            self.parts = [p for p in self.parts if p.table != "table"]  # a new table replaces the old one
        part = Part(table, digest, len(rows), len(bad), label)
        if len(bad):
            with beside(self._folder / "quarantine" / f"{table}-{digest[:12]}.csv") as temporary:
                bad.select(c for c in bad.columns if not bad.schema[c].is_nested()).write_csv(temporary)
        self._keep(part, rows)
        return True

    def add_logged(self, table: str, rows: Sequence[Mapping[str, Any]], last: int) -> None:
        """Take rows of a log, up to its number ``last``. Their columns are the design's, their users pseudonyms."""
        raw = pl.DataFrame(list(rows), infer_schema_length=None)
        good, _ = shape(raw, table, {}, f"the log of {table}")
        digest = sha256(f"{table} {last} ".encode() + msgspec.json.encode(rows)).hexdigest()
        self._keep(Part(table, digest, len(good), 0, logged=last), good)

    def commit(self) -> None:
        """Make the added parts part of the lake, all or none."""
        content = msgspec.json.format(msgspec.json.encode(self.parts), indent=1)
        write_bytes(self._folder / "parts.json", content)

    def _keep(self, part: Part, rows: pl.DataFrame) -> None:
        if part.table == "events":
            rows, content = once(rows)
            part = replace(part, rows=len(rows), content=content)
        with beside(self.path(part)) as temporary:
            write_parquet(rows, temporary)
        self.parts.append(part)

    def _load(self) -> list[Part]:
        index = self._folder / "parts.json"
        return msgspec.json.decode(index.read_bytes(), type=list[Part]) if index.exists() else []

    def _read(self, table: str, file: Path, label: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        names = self._mapping.get(table, {})
        kinds = {names.get(n, n): kind for n, kind in TABLES.get(table, {}).items()}
        numbers, times = ([n for n, k in kinds.items() if k in of] for of in (("float", "int"), ("time",)))
        raw = read_raw(file, keep_ragged=table != "table", numbers=numbers, times=times)
        if table == "table":
            if label not in raw.columns:
                found = ", ".join(raw.columns[:12])
                raise BadInput(f"{file}: column {label!r}", "is the label and missing", f"--label one of: {found}")
            return raw, raw.clear()
        if DELETED in raw.columns:
            raise BadInput(f"{file}: column {DELETED!r}", "is a name that Vetrina keeps for itself", "rename it")
        image = names.get("image", "image")
        if table == "products" and image in raw.columns:
            references = pictures.kept(self._folder.parent, raw[image].to_list(), file.parent)
            raw = raw.with_columns(pl.Series(image, references, dtype=pl.String))
        good, bad = shape(raw, table, names, str(file))
        if good.is_empty():
            raise BadInput(str(file), f"has no usable row (row 0: {bad['_reason'][0]})", "correct the export")
        emails = good["email"].to_list() if table == "users" and "email" in good.columns else None
        good = good.drop("email", strict=False)  # no model needs it, and the lake holds no plain identity
        if "user_id" in good.columns:
            good = self._pseudonymise(good)
        if table == "users" and self._keep_contacts and (emails is not None or "consent" in good.columns):
            said = good["consent"].to_list() if "consent" in good.columns else [None] * len(good)
            self._keep_contacts(good["user_id"].to_list(), emails or [None] * len(good), said)
            bad = bad.with_columns(pl.lit("(withheld)").alias("user_id")) if len(bad) else bad
        return good, bad

    def _pseudonymise(self, frame: pl.DataFrame) -> pl.DataFrame:
        ids = frame["user_id"].unique().sort()
        names = pl.Series("user_id", self._name_users(ids.to_list()), dtype=pl.String)
        named = frame.with_columns(pl.col("user_id").replace_strict(ids, names))
        return named.with_columns(self._others(named[c]) for c in ("follows", "friends") if c in named.columns)

    def _others(self, column: pl.Series) -> pl.Series:
        """Lists of user ids (JSON, or parted by blanks) as pseudonyms parted by blanks."""
        listed = column.str.replace_all(r"[\[\]\",']", " ").str.extract_all(r"\S+")
        return pl.Series(
            column.name,
            [None if ids is None else " ".join(self._name_users(ids)) for ids in listed.to_list()],
            dtype=pl.String,
        )


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """One way to write, so that equal content gives equal bytes."""
    frame.write_parquet(path, compression="lz4", statistics=False, row_group_size=_ROW_GROUP)


def _fingerprint(file: Path) -> str:
    """Whether a file was given before is no matter of trust, so a hash ten times as fast as SHA-256 tells."""
    with file.open("rb") as content:
        return file_digest(content, xxhash.xxh3_128).hexdigest()
