"""The lake: one Parquet part for every file ever given or taken from the service's logs, in the order they came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import xxhash

from vetrina.core.columns import TABLES
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write, write_bytes
from vetrina.ingest.deduplicate import deduplicate_events
from vetrina.ingest.identities import Identities
from vetrina.ingest.read import FILE, parse_rows, read_table_file
from vetrina.store import images
from vetrina.store.dataset import DELETED

QUARANTINE = "quarantine"
_ROW_GROUP = 1 << 18


@dataclass(frozen=True)
class LakePart:
    """One normalised file, or a stretch of a log of the service that ends at number ``logged``.

    ``digest`` tells the file given from others, ``content`` what its events say from what others say. A part that is not
    ``pseudonymous`` was written by an earlier version, which kept session ids as they came.
    """

    table: str
    digest: str
    rows: int
    quarantined: int
    label: str = ""
    logged: int = 0
    content: str = ""
    pseudonymous: bool = False


class Lake:
    """Parts of one shop, under the pseudonyms that ``identities`` gives."""

    def __init__(self, folder: Path, column_mapping: dict[str, dict[str, str]], identities: Identities) -> None:
        self.folder = folder
        self._column_mapping = column_mapping
        self._identities = identities
        self.parts = self._load_index()

    def path(self, part: LakePart) -> Path:
        """The Parquet file of a part."""
        return self.folder / part.table / f"{part.digest}.parquet"

    def last_seqs(self) -> dict[str, int]:
        """The last number of each log of the service that a part holds."""
        return {t: max((p.logged for p in self.parts if p.table == t), default=0) for t in ("events", "products")}

    def add_file(self, table: str, file: Path, label: str = "") -> bool:
        """Read a file into a part. False if the same file was given before."""
        if not file.exists():
            raise BadInput(str(file), "does not exist", "check the name")
        names = sorted(self._column_mapping.get(table, {}).items())
        digest = sha256(f"{_fingerprint(file)} {table} {names} {label}".encode()).hexdigest()
        if any(p.digest == digest for p in self.parts):
            return False
        rows, bad = self._read_file(table, file, label)
        if table == "table":
            self.parts = [p for p in self.parts if p.table != "table"]  # a new table replaces the old one
        part = LakePart(table, digest, len(rows), len(bad), label)
        if len(bad):
            source = self._identities.keys.without_address(file.name)
            with atomic_write(self.folder / QUARANTINE / f"{table}-{digest[:12]}.csv") as temporary:
                bad.select(pl.lit(source).alias(FILE), pl.all()).write_csv(temporary)
        self._write_part(part, rows)
        return True

    def add_log_rows(self, table: str, rows: Sequence[Mapping[str, Any]], last_seq: int) -> None:
        """Take rows of a log, up to its number ``last``. Their columns are the design's, ids of people pseudonyms."""
        raw = pl.DataFrame(list(rows), infer_schema_length=None)
        good, _ = parse_rows(raw, table, {}, f"the log of {table}")
        good = self._identities.completed(good, table)
        digest = sha256(f"{table} {last_seq} ".encode() + msgspec.json.encode(rows)).hexdigest()
        self._write_part(LakePart(table, digest, len(good), 0, logged=last_seq), good)

    def commit(self) -> None:
        """Make the added parts part of the lake, all or none."""
        content = msgspec.json.format(msgspec.json.encode(self.parts), indent=1)
        write_bytes(self.folder / "parts.json", content)

    def _write_part(self, part: LakePart, rows: pl.DataFrame) -> None:
        part = replace(part, pseudonymous=True)
        if part.table == "events":
            rows, content = deduplicate_events(rows)
            part = replace(part, rows=len(rows), content=content)
        with atomic_write(self.path(part)) as temporary:
            write_parquet(rows, temporary)
        self.parts.append(part)

    def _load_index(self) -> list[LakePart]:
        index = self.folder / "parts.json"
        return msgspec.json.decode(index.read_bytes(), type=list[LakePart]) if index.exists() else []

    def _read_file(self, table: str, file: Path, label: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        names = self._column_mapping.get(table, {})
        kinds = {names.get(n, n): kind for n, kind in TABLES.get(table, {}).items()}
        numbers, times = ([n for n, k in kinds.items() if k in of] for of in (("float", "int"), ("time",)))
        raw = read_table_file(file, keep_ragged=table != "table", number_columns=numbers, time_columns=times)
        if table == "table":
            if label not in raw.columns:
                found = ", ".join(raw.columns[:12])
                raise BadInput(f"{file}: column {label!r}", "is the label and missing", f"--label one of: {found}")
            return raw, raw.clear()
        if DELETED in raw.columns:
            raise BadInput(f"{file}: column {DELETED!r}", "is a name that Vetrina keeps for itself", "rename it")
        image = names.get("image", "image")
        if table == "products" and image in raw.columns:
            references = images.store_images(self.folder.parent, raw[image].to_list(), file.parent)
            raw = raw.with_columns(pl.Series(image, references, dtype=pl.String))
        good, bad = parse_rows(raw, table, names, str(file))
        if good.is_empty():
            raise BadInput(str(file), f"has no usable row (row 0: {bad['_reason'][0]})", "correct the export")
        return self._identities.pseudonymised(good, table), bad


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """One way to write, so that equal content gives equal bytes."""
    frame.write_parquet(path, compression="lz4", statistics=False, row_group_size=_ROW_GROUP)


def _fingerprint(file: Path) -> str:
    """Whether a file was given before is no matter of trust, so a hash ten times as fast as SHA-256 tells."""
    with file.open("rb") as content:
        return file_digest(content, xxhash.xxh3_128).hexdigest()
