"""Composes snapshots: all parts of the lake merged, hashed by content, split by time."""

from dataclasses import asdict, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from vetrina.core.clock import DAY
from vetrina.core.columns import KEY
from vetrina.core.files import folder_beside, write_bytes
from vetrina.core.settings import Settings
from vetrina.core.types import Cuts, Snapshot
from vetrina.ingest.lake import Lake, Part
from vetrina.ingest.order import tidy
from vetrina.store import dataset

_TABLES = ("products", "events", "users", "judgments", "ads", "table")
_SHARE_HELD_BACK = 0.1


def of(lake: Lake, folder: Path, settings: Settings) -> Snapshot:
    """The snapshot of all parts. Parts that were composed before are not read again."""
    parts = _identity(lake.parts, settings)
    known = folder / f"{parts}.json"
    if known.exists():
        digest = msgspec.json.decode(known.read_bytes(), type=str)
        if (folder / digest[:16]).exists():
            return replace(dataset.open_snapshot(folder, digest), logged=lake.logged())
    snapshot = compose(lake, folder, settings)
    write_bytes(known, msgspec.json.encode(snapshot.digest))
    return snapshot


def compose(lake: Lake, folder: Path, settings: Settings) -> Snapshot:
    """Write the snapshot. Its digest hashes each table's sorted content and the cuts, not the files they came in."""
    tables = {name: _merged(lake, name) for name in _TABLES if any(p.table == name for p in lake.parts)}
    label = next((p.label for p in lake.parts if p.table == "table"), "")
    cuts = cut(tables["events"], settings) if "events" in tables else None
    content = " ".join(f"{name}:{_digest(frame)}" for name, frame in tables.items())
    digest = sha256(f"{content} {label} {cuts}".encode()).hexdigest()
    rows = {name: len(frame) for name, frame in tables.items()}
    bad = sum(p.quarantined for p in lake.parts)
    snapshot = Snapshot(digest, folder / digest[:16], rows, cuts, bad, logged=lake.logged())
    notes = {**asdict(snapshot), "label": label}
    del notes["folder"], notes["added"]
    with folder_beside(snapshot.folder) as target:
        for name, frame in tables.items():
            frame.write_parquet(target / f"{name}.parquet", compression="lz4", statistics=False)
        (target / "snapshot.json").write_bytes(msgspec.json.format(msgspec.json.encode(notes)))
    return snapshot


def cut(events: pl.DataFrame, settings: Settings) -> Cuts:
    """Where fit, validation and holdout part: days from the settings, or a tenth of a log that is too short for them.

    Only days with events count, so a log with a hole (an old export, then live events) is held back where it is dense.
    """
    times = events["timestamp"].cast(pl.Int64).to_numpy() / 1e6
    days = np.unique(times // DAY)
    busy = _Busy(days)
    last = float(times[-1]) + 1.0
    start, end = busy.count(float(times[0])), busy.count(last)
    holdout = min(settings.split.holdout_days * DAY, _SHARE_HELD_BACK * (end - start))
    validation = min(settings.split.validation_days * DAY, _SHARE_HELD_BACK * (end - start))
    return Cuts(validation=busy.moment(end - holdout - validation), holdout=busy.moment(end - holdout), end=last)


class _Busy:
    """A clock that runs only on the given ``days`` (numbers since 1970, sorted)."""

    def __init__(self, days: np.ndarray) -> None:
        self._days = days

    def count(self, moment: float) -> float:
        """Seconds on this clock of a moment that lies on one of its days, or at the very end of one."""
        at = int(np.searchsorted(self._days, np.ceil(moment / DAY) - 1))
        return at * DAY + (moment - self._days[at] * DAY)

    def moment(self, seconds: float) -> float:
        """The other way round."""
        at = min(int(seconds // DAY), len(self._days) - 1)
        return float(self._days[at] * DAY + seconds - at * DAY)


def _merged(lake: Lake, table: str) -> pl.DataFrame:
    frames = [pl.read_parquet(lake.path(p)) for p in lake.parts if p.table == table]
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
    # Files of events may come in any order; of the other tables the last one counts.
    lines = sorted(p.digest for p in parts if p.table == "events") + [p.digest for p in parts if p.table != "events"]
    return sha256(f"{lines} {settings.split}".encode()).hexdigest()[:24]
