"""The stage: add files and what the service logged to the lake, then compose the snapshot of everything it holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vetrina.core.errors import BadInput
from vetrina.core.progress import Progress, Silent, each
from vetrina.core.settings import Settings
from vetrina.core.types import Snapshot, Source
from vetrina.ingest import earlier, snapshots
from vetrina.ingest.identities import Identities
from vetrina.ingest.lake import Lake

# Rows of a log ("events" or "products") after a number, and the last number; no rows when there are no more.
Log = Callable[[str, int], tuple[Sequence[Mapping[str, Any]], int]]


def ingest(
    source: Source,
    into: Path,
    settings: Settings,
    identities: Identities,
    log: Log,
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
    lake = Lake(into / "lake", settings.columns, identities)
    earlier.pseudonymise(lake, into / "snapshots", identities)
    files = [(table, f) for table, paths in source.files().items() for f in paths]
    added = [
        lake.add(t, f, source.label if t == "table" else "") for t, f in each(progress or Silent(), "ingest", files)
    ]
    for table, seen in lake.logged().items():
        rows, last = log(table, seen)
        while rows:
            lake.add_logged(table, rows, last)
            rows, last = log(table, last)
    if not lake.parts:
        raise BadInput(str(into), "holds no data yet", "give files: vetrina ingest --products FILE --events FILE")
    snapshot = snapshots.of(lake, into / "snapshots", settings)
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
