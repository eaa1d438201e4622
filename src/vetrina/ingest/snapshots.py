"""Composes snapshots: all parts of the lake merged, hashed by content, split by time."""

import tempfile
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.columns import KEY_COLUMNS
from vetrina.core.files import atomic_folder, digest_of, write_bytes
from vetrina.core.settings import Settings
from vetrina.core.types import Cuts, Snapshot
from vetrina.ingest.deduplicate import deduplicate_events
from vetrina.ingest.lake import Lake, LakePart, write_parquet
from vetrina.store import click_fraud, dataset

_TABLES = ("products", "events", "users", "judgments", "ads", "table")
_MAX_PERIOD_SHARE = 0.1
_MAX_EVENT_SHARE = 0.2
_DAY_US = 86_400_000_000


def open_or_compose(lake: Lake, snapshots_folder: Path, settings: Settings) -> Snapshot:
    """The snapshot of all parts. Parts that were composed before are not read again."""
    parts = _cache_key(lake.parts, settings)
    known = snapshots_folder / f"{parts}.json"
    if known.exists():
        digest = msgspec.json.decode(known.read_bytes(), type=str)
        if (snapshots_folder / digest[:16]).exists():
            return replace(dataset.open_snapshot(snapshots_folder, digest), logged=lake.last_seqs())
    snapshot = compose(lake, snapshots_folder, settings)
    write_bytes(known, msgspec.json.encode(snapshot.digest))
    return snapshot


def compose(lake: Lake, snapshots_folder: Path, settings: Settings) -> Snapshot:
    """Write the snapshot. Its digest hashes what each table says, not the files that the rows came in."""
    snapshots_folder.mkdir(parents=True, exist_ok=True)
    label = next((p.label for p in lake.parts if p.table == "table"), "")
    with tempfile.TemporaryDirectory(dir=snapshots_folder, prefix=".") as scratch:
        files = {
            name: Path(scratch) / f"{name}.parquet" for name in _TABLES if any(p.table == name for p in lake.parts)
        }
        digests = {name: _write_table(lake, name, file) for name, file in files.items()}
        cuts = (
            split_times(pl.read_parquet(files["events"], columns=["timestamp"]), settings)
            if "events" in files
            else None
        )
        doubted = (
            _detect_click_fraud(files["events"]) if "events" in files and settings.ingest.exclude_click_fraud else None
        )
        content = " ".join(f"{name}:{digest}" for name, digest in digests.items())
        content += f" doubted:{sorted(doubted.rows())}" if doubted is not None and len(doubted) else ""
        digest = sha256(f"{content} {label} {cuts}".encode()).hexdigest()
        rows = {name: _count_rows(file) for name, file in files.items()}
        bad = sum(p.quarantined for p in lake.parts)
        snapshot = Snapshot(digest, snapshots_folder / digest[:16], rows, cuts, bad, logged=lake.last_seqs())
        notes = {**asdict(snapshot), "label": label}
        del notes["folder"], notes["added"]
        with atomic_folder(snapshot.folder) as target:
            for name, file in files.items():
                (target / f"{name}.parquet").hardlink_to(file)
            if doubted is not None:
                click_fraud.write(target, doubted)
            (target / "snapshot.json").write_bytes(msgspec.json.format(msgspec.json.encode(notes)))
    return snapshot


def split_times(events: pl.DataFrame, settings: Settings) -> Cuts:
    """Where fit, validation and holdout part: days from the settings, or a tenth of a log that is too short for them.

    Only days with events count, so a log with a hole (an old export, then live events) is held back where it is dense. Neither
    part takes more than a fraction of the events (but at least those of one moment), so that sequences of a few steps each
    are held back by their last steps. Events that all have one time are parted by chance (``dataset`` spreads them).
    """
    times = np.sort(events["timestamp"].cast(pl.Int64).to_numpy())
    if times[0] == times[-1]:
        begin = float(times[0] / 1e6)
        return Cuts(begin + 1.0 - 2 * _MAX_PERIOD_SHARE, begin + 1.0 - _MAX_PERIOD_SHARE, begin + 1.0)
    busy = _ActiveDayClock(np.unique(times // _DAY_US))
    first = times[0] / 1e6
    last = times[-1] / 1e6 + 1.0
    start = busy.to_active_seconds(first)
    end = busy.to_active_seconds(last)
    held = [
        min(days * DAY, _MAX_PERIOD_SHARE * (end - start))
        for days in (settings.split.holdout_days, settings.split.validation_days)
    ]
    holdout = _limit_held_back_events(times, busy.to_timestamp(end - held[0]))
    validation = _limit_held_back_events(
        times[: np.searchsorted(times, holdout * 1e6)], busy.to_timestamp(busy.to_active_seconds(holdout) - held[1])
    )
    return Cuts(validation=validation, holdout=holdout, end=float(last))


def _limit_held_back_events(times: NDArray[np.int64], since: float) -> float:
    """``since`` (seconds), or the next moment from which on there is at most a fraction of ``times`` (microseconds), but some."""
    least = len(times) - int(_MAX_EVENT_SHARE * len(times))
    at = int(np.searchsorted(times, since * 1e6))
    if at < least:
        at = int(np.searchsorted(times, times[least - 1], side="right"))
    elif at < len(times):
        return since
    return float(times[min(at, int(np.searchsorted(times, times[-1])))] / 1e6)


class _ActiveDayClock:
    """A clock that runs only on the given ``days`` (numbers since 1970, sorted)."""

    def __init__(self, days: np.ndarray) -> None:
        self._days = days

    def to_active_seconds(self, moment: float) -> float:
        """Seconds on this clock of a moment that lies on one of its days, or at the very end of one."""
        at = int(np.searchsorted(self._days, np.ceil(moment / DAY) - 1))
        return at * DAY + (moment - self._days[at] * DAY)

    def to_timestamp(self, seconds: float) -> float:
        """The other way round."""
        at = min(int(seconds // DAY), len(self._days) - 1)
        return float(self._days[at] * DAY + seconds - at * DAY)


def _write_table(lake: Lake, table: str, file: Path) -> str:
    """All parts of a table as one file; returns the digest of its content. A single part is shared where it is whole."""
    parts = [p for p in lake.parts if p.table == table]
    if len(parts) == 1 and (parts[0].content or table == "table"):
        file.hardlink_to(lake.path(parts[0]))
        return parts[0].content or digest_of(file)
    whole = pl.concat([pl.read_parquet(lake.path(p)) for p in parts], how="diagonal_relaxed")
    if table == "events":
        events, content = deduplicate_events(whole)
        write_parquet(events, file)
        return content
    kept = whole.unique(list(KEY_COLUMNS[table]), keep="last", maintain_order=True).sort(list(KEY_COLUMNS[table]))
    write_parquet(kept.select(c for c in sorted(kept.columns) if kept[c].null_count() < len(kept)), file)
    return digest_of(file)


def _detect_click_fraud(events: Path) -> pl.DataFrame | None:
    """Pushes among events that name products."""
    if "product_id" not in pl.read_parquet_schema(events):
        return None
    return click_fraud.detect_click_fraud(
        pl.read_parquet(events, columns=["timestamp", "user_id", "type", "product_id"])
    )


def _count_rows(file: Path) -> int:
    return int(pl.scan_parquet(file).select(pl.len()).collect().item())


def _cache_key(parts: list[LakePart], settings: Settings) -> str:
    # Files of events may come in any order; of the other tables the last one counts.
    lines = sorted(p.digest for p in parts if p.table == "events") + [p.digest for p in parts if p.table != "events"]
    return sha256(f"{lines} {settings.split} {settings.ingest}".encode()).hexdigest()[:24]
