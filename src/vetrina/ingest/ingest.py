"""The stage: add files to the lake, then compose the snapshot of everything the lake holds."""

from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import msgspec
import polars as pl

from vetrina.core.columns import KEY
from vetrina.core.errors import BadInput
from vetrina.core.files import folder_beside, write_bytes
from vetrina.core.progress import Progress, Silent, each
from vetrina.core.settings import Settings
from vetrina.core.types import Cuts, Snapshot, Source
from vetrina.ingest.lake import Lake, NameUsers, Part, tidy

_TABLES = ("products", "events", "users", "judgments", "table")
_SHARE_HELD_BACK = 0.1


def ingest(
    source: Source, into: Path, settings: Settings, name_users: NameUsers, progress: Progress | None = None
) -> Snapshot:
    """Read ``source`` into the lake below ``into`` and return the snapshot of all that is there.

    The same files, whatever their order or number of times, give the same digest. Nothing is kept of a call that fails.
    """
    lake = Lake(into / "lake", settings.columns, name_users)
    files = [(table, f) for table, paths in source.files().items() for f in paths]
    added = [
        lake.add(t, f, source.label if t == "table" else "") for t, f in each(progress or Silent(), "ingest", files)
    ]
    if not lake.parts:
        raise BadInput(str(into), "holds no data yet", "give files: vetrina ingest --products FILE --events FILE")
    snapshot = _known(lake.parts, into / "snapshots", settings) or compose(lake, into / "snapshots", settings)
    lake.commit()
    return Snapshot(
        snapshot.digest, snapshot.folder, snapshot.rows, snapshot.cuts, snapshot.quarantined, added=sum(added)
    )


def compose(lake: Lake, snapshots: Path, settings: Settings) -> Snapshot:
    """Write the snapshot of all parts. Its digest hashes each table's sorted content, not the files they came in."""
    tables = {name: _merged(lake, name) for name in _TABLES if any(p.table == name for p in lake.parts)}
    label = next((p.label for p in lake.parts if p.table == "table"), "")
    content = " ".join(f"{name}:{_digest(frame)}" for name, frame in tables.items())
    digest = sha256(f"{content} {label}".encode()).hexdigest()
    cuts = cut(tables["events"], settings) if "events" in tables else None
    snapshot = Snapshot(
        digest,
        snapshots / digest[:16],
        {name: len(frame) for name, frame in tables.items()},
        cuts,
        sum(p.quarantined for p in lake.parts),
    )
    with folder_beside(snapshot.folder) as folder:
        for name, frame in tables.items():
            frame.write_parquet(folder / f"{name}.parquet", compression="lz4", statistics=False)
        write_bytes(folder / "label", label.encode())
    notes = {"parts": _identity(lake.parts, settings), "digest": digest, "rows": snapshot.rows, "cuts": cuts}
    known = snapshots / f"{_identity(lake.parts, settings)}.json"
    write_bytes(known, msgspec.json.encode({**notes, "quarantined": snapshot.quarantined}))
    return snapshot


def cut(events: pl.DataFrame, settings: Settings) -> Cuts:
    """Where fit, validation and holdout part: days from the settings, or a tenth of a log that is too short for them."""
    first, last = events["timestamp"][0], events["timestamp"][-1]
    start, end = _seconds(first), _seconds(last) + 1.0
    holdout = min(settings.split.holdout_days * 86_400, _SHARE_HELD_BACK * (end - start))
    validation = min(settings.split.validation_days * 86_400, _SHARE_HELD_BACK * (end - start))
    return Cuts(validation=end - holdout - validation, holdout=end - holdout, end=end)


def _merged(lake: Lake, table: str) -> pl.DataFrame:
    parts = [p for p in lake.parts if p.table == table]
    frames = [pl.read_parquet(lake.path(p)) for p in parts]
    if table == "table":
        return frames[-1]
    whole = frames[0] if len(frames) == 1 else pl.concat([_plain(f) for f in frames], how="diagonal_relaxed")
    if table == "events":
        return whole if len(frames) == 1 else tidy(whole)
    kept = whole.unique(list(KEY[table]), keep="last", maintain_order=True)
    return kept.select(sorted(kept.columns)).sort(list(KEY[table]))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _digest(frame: pl.DataFrame) -> str:
    buffer = BytesIO()
    full = _plain(frame.select(c for c in sorted(frame.columns) if frame[c].null_count() < len(frame)))
    full.write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return sha256(buffer.getbuffer()).hexdigest()


def _identity(parts: list[Part], settings: Settings) -> str:
    lines = sorted(p.digest for p in parts if p.table == "events") + [p.digest for p in parts if p.table != "events"]
    return sha256(f"{lines} {settings.split}".encode()).hexdigest()[:24]


def _known(parts: list[Part], snapshots: Path, settings: Settings) -> Snapshot | None:
    record = snapshots / f"{_identity(parts, settings)}.json"
    if not record.exists():
        return None
    raw = msgspec.json.decode(record.read_bytes())
    folder = snapshots / raw["digest"][:16]
    if not folder.exists():
        return None
    cuts = Cuts(**raw["cuts"]) if raw["cuts"] else None
    return Snapshot(raw["digest"], folder, raw["rows"], cuts, raw["quarantined"])


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
