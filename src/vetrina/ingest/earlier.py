"""What an earlier version wrote with plain session ids, with e-mail addresses or with the values of broken rows."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from vetrina.core.files import atomic_write
from vetrina.ingest.identities import ABOUT_PEOPLE, Identities
from vetrina.ingest.lake import QUARANTINE, Lake, write_parquet
from vetrina.ingest.read import COLUMN, FILE, PATTERN, REASON_COLUMN, ROW_COLUMN


def pseudonymise(lake: Lake, snapshots: Path, identities: Identities) -> None:
    """Bring lake, quarantine and snapshots in line, each file in one step; cut off anywhere, the next call goes on.

    Parts and snapshots keep their digests, by which versions name them: no model reads what changes in them.

    Args:
        lake: Committed if one of its parts was written by an earlier version.
        snapshots: The folder of the shop's snapshots.
        identities: Gives the pseudonyms.
    """
    for file in (lake.folder / QUARANTINE).glob("*.csv"):
        _drop_values(file)
    if all(part.pseudonymous for part in lake.parts):
        return
    for table in ABOUT_PEOPLE:
        for file in (*lake.folder.glob(f"{table}/*.parquet"), *snapshots.glob(f"*/{table}.parquet")):
            _complete(file, table, identities)
    lake.parts = [replace(part, pseudonymous=True) for part in lake.parts]
    lake.commit()


def _complete(file: Path, table: str, identities: Identities) -> None:
    rows = pl.read_parquet(file)
    completed = identities.completed(rows, table)
    if not completed.equals(rows):
        with atomic_write(file) as temporary:
            write_parquet(completed, temporary)


def _drop_values(file: Path) -> None:
    rows = pl.read_csv(file, infer_schema=False)
    if FILE in rows.columns[:1]:
        return
    unknown = pl.lit(None, pl.String)
    kept = rows.select(unknown.alias(FILE), ROW_COLUMN, REASON_COLUMN, unknown.alias(COLUMN), unknown.alias(PATTERN))
    with atomic_write(file) as temporary:
        kept.write_csv(temporary)
