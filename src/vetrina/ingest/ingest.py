"""Ingest stage: input files and service logs to the lake, and the lake to a snapshot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress, Progress, track
from vetrina.core.settings import Settings
from vetrina.core.snapshots import InputFiles, Snapshot
from vetrina.ingest import earlier, snapshots
from vetrina.ingest.identities import Identities
from vetrina.ingest.lake import Lake

# Reads a log ("events" or "products"): the next rows after a sequence number and the last number; no rows at the end.
ReadLog = Callable[[str, int], tuple[Sequence[Mapping[str, Any]], int]]


def ingest(
    source: InputFiles,
    shop_folder: Path,
    settings: Settings,
    identities: Identities,
    read_log: ReadLog,
    progress: Progress | None = None,
) -> Snapshot:
    """Add files and new log rows to the shop's lake and return the snapshot of the whole lake.

    The same files give the same digest, whatever their order and however often they are given. A call that fails changes
    nothing.

    Args:
        source: Input files by table.
        shop_folder: The shop's folder.
        settings: Column mapping, split and click fraud settings.
        identities: Pseudonyms of users, sessions and addresses.
        read_log: Reads the service's logs of events and products, a chunk at a time.
        progress: Reports each file.

    Raises:
        BadInput: A file cannot be read, or there is no data at all.
    """
    lake = Lake(shop_folder / "lake", settings.columns, identities)
    earlier.pseudonymise(lake, shop_folder / "snapshots", identities)
    n_added = _add_files(lake, source, progress or NoProgress())
    for table, first_seq in lake.last_seqs().items():
        rows, last_seq = read_log(table, first_seq)
        while rows:
            lake.add_log_rows(table, rows, last_seq)
            rows, last_seq = read_log(table, last_seq)
    if not lake.parts:
        way_out = "give files: vetrina ingest --products FILE --events FILE"
        raise BadInput(str(shop_folder), "holds no data yet", way_out)
    snapshot = snapshots.open_or_compose(lake, shop_folder / "snapshots", settings)
    lake.commit()
    return replace(snapshot, added=n_added)


def _add_files(lake: Lake, source: InputFiles, progress: Progress) -> int:
    """Add all files to the lake; returns the number of files that are new."""
    files = [(table, file) for table, paths in source.by_table().items() for file in paths]
    n_added = 0
    for table, file in track(progress, "ingest", files):
        label = source.label if table == "table" else ""
        if lake.add_file(table, file, label):
            n_added += 1
    return n_added
