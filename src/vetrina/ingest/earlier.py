"""Upgrade of a lake and of snapshots that an earlier version wrote.

Earlier versions stored plain session ids, e-mail addresses and the values of quarantined rows.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from vetrina.core.files import atomic_write
from vetrina.ingest.identities import ABOUT_PEOPLE, Identities
from vetrina.ingest.lake import QUARANTINE, Lake, write_parquet
from vetrina.ingest.read import COLUMN, FILE, PATTERN, REASON_COLUMN, ROW_COLUMN


def pseudonymise(lake: Lake, snapshots: Path, identities: Identities) -> None:
    """Pseudonymise lake and snapshots and drop the values of quarantined rows.

    Each file is replaced atomically, and an interrupted upgrade is resumed by the next call. Parts and snapshots keep their
    digests, which versions refer to: no model reads the values that change.

    Args:
        lake: The lake; it is committed if an earlier version wrote one of its parts.
        snapshots: Folder of the shop's snapshots.
        identities: Pseudonyms of users, sessions and addresses.
    """
    for file in (lake.folder / QUARANTINE).glob("*.csv"):
        _drop_values(file)
    if all(part.pseudonymous for part in lake.parts):
        return
    for table in ABOUT_PEOPLE:
        lake_files = lake.folder.glob(f"{table}/*.parquet")
        snapshot_files = snapshots.glob(f"*/{table}.parquet")
        for file in (*lake_files, *snapshot_files):
            _complete(file, table, identities)
    lake.parts = [replace(part, pseudonymous=True) for part in lake.parts]
    lake.commit()


def _complete(file: Path, table: str, identities: Identities) -> None:
    """Replace what is plain in a Parquet file by pseudonyms."""
    rows = pl.read_parquet(file)
    completed = identities.completed(rows, table)
    if not completed.equals(rows):
        with atomic_write(file) as temporary:
            write_parquet(completed, temporary)


def _drop_values(file: Path) -> None:
    """Rewrite a quarantine file of an earlier version with row numbers and reasons only."""
    rows = pl.read_csv(file, infer_schema=False)
    is_current = FILE in rows.columns[:1]
    if is_current:
        return
    missing = pl.lit(None, pl.String)
    reasons = rows.select(missing.alias(FILE), ROW_COLUMN, REASON_COLUMN, missing.alias(COLUMN), missing.alias(PATTERN))
    with atomic_write(file) as temporary:
        reasons.write_csv(temporary)
