"""Data lake: one normalised Parquet file for each input file or stretch of a log, in the order of arrival.

All ids of people in the lake are pseudonyms. How parts are merged is up to ``ingest.snapshots``.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import xxhash

from vetrina.core.columns import ANONYMOUS_COLUMN, OVER_CAP_COLUMN, TABLES
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write, write_bytes
from vetrina.data import images
from vetrina.data.dataset import DELETED
from vetrina.ingest.deduplicate import deduplicate_events
from vetrina.ingest.identities import Identities
from vetrina.ingest.read import FILE, parse_rows, read_table_file, shape_log_rows

QUARANTINE = "quarantine"
_INDEX_FILE = "parts.json"
_RESERVED_COLUMNS = (DELETED, ANONYMOUS_COLUMN, OVER_CAP_COLUMN)
_ROW_GROUP = 1 << 18  # rows
_LOG = logging.getLogger("vetrina.ingest")


@dataclass(frozen=True)
class LakePart:
    """One normalised input file, or a stretch of one of the service's logs.

    Attributes:
        table: Name of the table.
        digest: Hash of the input file and how it was read; a file with a known digest is not read again.
        rows: Number of rows.
        quarantined: Number of rejected rows.
        label: Label column of the labelled table.
        logged: Last sequence number of a stretch of a log.
        content: Hash of the events, whatever their order; empty for other tables.
        pseudonymous: False for a part of an earlier version, which stored plain session ids.
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
    """The lake of one shop. Added parts become part of it with ``commit``."""

    def __init__(self, folder: Path, column_mapping: dict[str, dict[str, str]], identities: Identities) -> None:
        self.folder = folder
        self._column_mapping = column_mapping
        self._identities = identities
        self.parts = load_index(folder)

    def path(self, part: LakePart) -> Path:
        """The Parquet file of a part."""
        return _part_file(self.folder, part)

    def last_seqs(self) -> dict[str, int]:
        """Last sequence number of each of the service's logs ("events" and "products") in the lake, 0 without any."""
        return last_seqs(self.parts)

    def add_file(self, table: str, file: Path, label: str = "") -> bool:
        """Read an input file into a new part.

        Args:
            table: Name of the table.
            file: The file.
            label: Label column of the labelled table.

        Returns:
            False if the lake has the same file already.

        Raises:
            BadInput: The file cannot be read or has no usable row.
        """
        if not file.exists():
            raise BadInput(str(file), "does not exist", "check the name")
        mapping = sorted(self._column_mapping.get(table, {}).items())
        digest = sha256(f"{_fingerprint(file)} {table} {mapping} {label}".encode()).hexdigest()
        if any(part.digest == digest for part in self.parts):
            return False
        rows, rejected = self._read_file(table, file, label)
        if table == "table":
            # A new labelled table replaces the old one.
            self.parts = [part for part in self.parts if part.table != "table"]
        part = LakePart(table, digest, len(rows), len(rejected), label)
        self._write_quarantine(part, rejected, self._identities.keys.without_address(file.name))
        self._write_part(part, rows)
        return True

    def add_log_rows(self, table: str, rows: Sequence[Mapping[str, Any]], last_seq: int) -> None:
        """Add rows of one of the service's logs as a new part. Rows that cannot be shaped are quarantined.

        Args:
            table: "events" or "products".
            rows: Rows under the column names of ``core.columns``; ids of people are pseudonyms.
            last_seq: Sequence number of the last row.
        """
        source = f"the log of {table}"
        accepted, rejected = shape_log_rows(rows, table, source)
        accepted = self._identities.completed(accepted, table)
        digest = sha256(f"{table} {last_seq} {rows!r}".encode()).hexdigest()
        part = LakePart(table, digest, len(accepted), len(rejected), logged=last_seq)
        self._write_quarantine(part, rejected, source)
        self._write_part(part, accepted)

    def commit(self) -> None:
        """Make all added parts part of the lake, atomically."""
        _write_index(self.folder, self.parts)

    def _write_quarantine(self, part: LakePart, rejected: pl.DataFrame, source: str) -> None:
        if rejected.is_empty():
            return
        with atomic_write(self.folder / QUARANTINE / f"{part.table}-{part.digest[:12]}.csv") as temporary:
            rejected.select(pl.lit(source).alias(FILE), pl.all()).write_csv(temporary)

    def _write_part(self, part: LakePart, rows: pl.DataFrame) -> None:
        part = replace(part, pseudonymous=True)
        if part.table == "events":
            rows, content = deduplicate_events(rows)
            part = replace(part, rows=len(rows), content=content)
        with atomic_write(self.path(part)) as temporary:
            write_parquet(rows, temporary)
        self.parts.append(part)

    def _read_file(self, table: str, file: Path, label: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accepted rows of a file under pseudonyms, and its quarantined rows."""
        mapping = self._column_mapping.get(table, {})
        types = {mapping.get(name, name): column_type for name, column_type in TABLES.get(table, {}).items()}
        number_columns = [name for name, column_type in types.items() if column_type in ("float", "int")]
        time_columns = [name for name, column_type in types.items() if column_type == "time"]
        raw = read_table_file(
            file, keep_ragged=table != "table", number_columns=number_columns, time_columns=time_columns
        )
        if table == "table":
            _require_label(raw, label, file)
            return raw, raw.clear()
        _refuse_reserved_columns(raw, file)
        image_column = mapping.get("image", "image")
        if table == "products" and image_column in raw.columns:
            raw = self._with_stored_images(raw, image_column, file)
        accepted, rejected = parse_rows(raw, table, mapping, str(file))
        if accepted.is_empty():
            raise BadInput(str(file), f"has no usable row (row 0: {rejected['_reason'][0]})", "correct the export")
        return self._identities.pseudonymised(accepted, table), rejected

    def _with_stored_images(self, products: pl.DataFrame, image_column: str, file: Path) -> pl.DataFrame:
        """Products whose images are stored in the shop's folder; those that are refused are null."""
        given = products[image_column].to_list()
        references = images.store_images(self.folder.parent, given, file.parent)
        n_without_image = sum(not reference for reference in given)
        n_refused = references.count(None) - n_without_image
        if n_refused:
            _LOG.warning("%s: %d images are left out: no images, or no files below its folder", file, n_refused)
        return products.with_columns(pl.Series(image_column, references, dtype=pl.String))


def _require_label(table: pl.DataFrame, label: str, file: Path) -> None:
    if label not in table.columns:
        names = ", ".join(table.columns[:12])
        raise BadInput(f"{file}: column {label!r}", "is the label and missing", f"--label one of: {names}")


def _refuse_reserved_columns(rows: pl.DataFrame, file: Path) -> None:
    for name in _RESERVED_COLUMNS:
        if name in rows.columns:
            raise BadInput(f"{file}: column {name!r}", "is a name that Vetrina keeps for itself", "rename it")


def load_index(folder: Path) -> list[LakePart]:
    """The parts of the lake in a folder."""
    index = folder / _INDEX_FILE
    if not index.exists():
        return []
    return msgspec.json.decode(index.read_bytes(), type=list[LakePart])


def last_seqs(parts: Sequence[LakePart]) -> dict[str, int]:
    """Last sequence number of each of the service's logs ("events" and "products") in parts of a lake, 0 without any."""
    last_seq_of_table = {"events": 0, "products": 0}
    for part in parts:
        if part.table in last_seq_of_table:
            last_seq_of_table[part.table] = max(last_seq_of_table[part.table], part.logged)
    return last_seq_of_table


def prune_events(folder: Path, arrived_before: float) -> int:
    """Remove files and stretches of the log with events that arrived before a time. Nobody may ingest meanwhile.

    The last stretch of the log stays: it tells where to go on reading.

    Args:
        folder: The lake.
        arrived_before: Seconds since 1970.

    Returns:
        The number of bytes freed.
    """
    parts = load_index(folder)
    last_seq = last_seqs(parts)["events"]
    kept_parts: list[LakePart] = []
    removed: list[Path] = []
    for part in parts:
        file = _part_file(folder, part)
        is_last_of_log = bool(part.logged) and part.logged == last_seq
        if part.table == "events" and not is_last_of_log and file.stat().st_mtime < arrived_before:
            removed.append(file)
        else:
            kept_parts.append(part)
    if not removed:
        return 0
    _write_index(folder, kept_parts)
    freed_bytes = 0
    for file in removed:
        freed_bytes += file.stat().st_size
        file.unlink()
    return freed_bytes


def _part_file(folder: Path, part: LakePart) -> Path:
    return folder / part.table / f"{part.digest}.parquet"


def _write_index(folder: Path, parts: Sequence[LakePart]) -> None:
    content = msgspec.json.format(msgspec.json.encode(parts), indent=1)
    write_bytes(folder / _INDEX_FILE, content)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file; equal content gives equal bytes."""
    frame.write_parquet(path, compression="lz4", statistics=False, row_group_size=_ROW_GROUP)


def _fingerprint(file: Path) -> str:
    """Hash of a file. XXH3 is ten times as fast as SHA-256, and no attacker gains from a collision here."""
    with file.open("rb") as content:
        return file_digest(content, xxhash.xxh3_128).hexdigest()
