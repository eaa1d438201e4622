"""Composes snapshots: all parts of the lake merged, hashed by content, split by time."""

import tempfile
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from vetrina.core.clock import DAY
from vetrina.core.columns import KEY
from vetrina.core.files import digest_of, folder_beside, write_bytes
from vetrina.core.settings import Settings
from vetrina.core.types import Cuts, Snapshot
from vetrina.ingest.lake import Lake, Part, write_parquet
from vetrina.ingest.once import once
from vetrina.store import dataset

_TABLES = ("products", "events", "users", "judgments", "ads", "table")
_SHARE_HELD_BACK = 0.1
_DAY_US = 86_400_000_000


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
    """Write the snapshot. Its digest hashes what each table says, not the files that the rows came in."""
    folder.mkdir(parents=True, exist_ok=True)
    label = next((p.label for p in lake.parts if p.table == "table"), "")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        files = {
            name: Path(scratch) / f"{name}.parquet" for name in _TABLES if any(p.table == name for p in lake.parts)
        }
        digests = {name: _write(lake, name, file) for name, file in files.items()}
        cuts = cut(pl.read_parquet(files["events"], columns=["timestamp"]), settings) if "events" in files else None
        content = " ".join(f"{name}:{digest}" for name, digest in digests.items())
        digest = sha256(f"{content} {label} {cuts}".encode()).hexdigest()
        rows = {name: _rows(file) for name, file in files.items()}
        bad = sum(p.quarantined for p in lake.parts)
        snapshot = Snapshot(digest, folder / digest[:16], rows, cuts, bad, logged=lake.logged())
        notes = {**asdict(snapshot), "label": label}
        del notes["folder"], notes["added"]
        with folder_beside(snapshot.folder) as target:
            for name, file in files.items():
                (target / f"{name}.parquet").hardlink_to(file)
            (target / "snapshot.json").write_bytes(msgspec.json.format(msgspec.json.encode(notes)))
    return snapshot


def cut(events: pl.DataFrame, settings: Settings) -> Cuts:
    """Where fit, validation and holdout part: days from the settings, or a tenth of a log that is too short for them.

    Only days with events count, so a log with a hole (an old export, then live events) is held back where it is dense.
    """
    times = events["timestamp"].cast(pl.Int64)
    busy = _Busy((times // _DAY_US).unique().sort().to_numpy())
    first, last = times.to_numpy().min() / 1e6, times.to_numpy().max() / 1e6 + 1.0
    start, end = busy.count(first), busy.count(last)
    holdout = min(settings.split.holdout_days * DAY, _SHARE_HELD_BACK * (end - start))
    validation = min(settings.split.validation_days * DAY, _SHARE_HELD_BACK * (end - start))
    return Cuts(validation=busy.moment(end - holdout - validation), holdout=busy.moment(end - holdout), end=float(last))


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


def _write(lake: Lake, table: str, file: Path) -> str:
    """All parts of a table as one file; returns the digest of its content. A single part is shared where it is whole."""
    parts = [p for p in lake.parts if p.table == table]
    if len(parts) == 1 and (parts[0].content or table == "table"):
        file.hardlink_to(lake.path(parts[0]))
        return parts[0].content or digest_of(file)
    whole = pl.concat([pl.read_parquet(lake.path(p)) for p in parts], how="diagonal_relaxed")
    if table == "events":
        events, content = once(whole)
        write_parquet(events, file)
        return content
    kept = whole.unique(list(KEY[table]), keep="last", maintain_order=True).sort(list(KEY[table]))
    write_parquet(kept.select(c for c in sorted(kept.columns) if kept[c].null_count() < len(kept)), file)
    return digest_of(file)


def _rows(file: Path) -> int:
    return int(pl.scan_parquet(file).select(pl.len()).collect().item())


def _identity(parts: list[Part], settings: Settings) -> str:
    # Files of events may come in any order; of the other tables the last one counts.
    lines = sorted(p.digest for p in parts if p.table == "events") + [p.digest for p in parts if p.table != "events"]
    return sha256(f"{lines} {settings.split}".encode()).hexdigest()[:24]
