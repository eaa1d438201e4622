"""The stage: add files and what the service logged to the lake, then compose the snapshot of everything it holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress, Progress, track
from vetrina.core.settings import Settings
from vetrina.core.types import InputFiles, Snapshot
from vetrina.ingest import earlier, snapshots
from vetrina.ingest.identities import Identities
from vetrina.ingest.lake import Lake

# Rows of a log ("events" or "products") after a number, and the last number; no rows when there are no more.
ReadLog = Callable[[str, int], tuple[Sequence[Mapping[str, Any]], int]]


def ingest(
    source: InputFiles,
    shop_folder: Path,
    settings: Settings,
    identities: Identities,
    read_log: ReadLog,
    progress: Progress | None = None,
) -> Snapshot:
    """Read ``source`` and the ``log`` into the lake below ``into`` and return the snapshot of all that is there.

    The same files, whatever their order or number of times, give the same digest. Nothing is kept of a call that fails.

    Args:
        source: The files, by table.
        into: The shop's folder.
        settings: Names of columns, and where the log is split.
        identities: Gives users, sessions and addresses their pseudonyms.
        log: Rows of the service's logs of events and products, a piece at a time.
        progress: Is told of each file.

    Raises:
        BadInput: A file cannot be read, or there is no data at all.
    """
    lake = Lake(shop_folder / "lake", settings.columns, identities)
    earlier.pseudonymise(lake, shop_folder / "snapshots", identities)
    files = [(table, f) for table, paths in source.by_table().items() for f in paths]
    added = [
        lake.add_file(t, f, source.label if t == "table" else "")
        for t, f in track(progress or NoProgress(), "ingest", files)
    ]
    for table, seen in lake.last_seqs().items():
        rows, last = read_log(table, seen)
        while rows:
            lake.add_log_rows(table, rows, last)
            rows, last = read_log(table, last)
    if not lake.parts:
        raise BadInput(
            str(shop_folder), "holds no data yet", "give files: vetrina ingest --products FILE --events FILE"
        )
    snapshot = snapshots.open_or_compose(lake, shop_folder / "snapshots", settings)
    lake.commit()
    return Snapshot(
        snapshot.digest,
        snapshot.folder,
        snapshot.rows,
        snapshot.cuts,
        snapshot.quarantined,
        sum(added),
        snapshot.logged,
    )
