"""Snapshots: the merged lake, hashed by content and split by time."""

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
from vetrina.data import click_fraud, dataset
from vetrina.ingest.deduplicate import deduplicate_events
from vetrina.ingest.lake import Lake, LakePart, write_parquet

_TABLES = ("products", "events", "users", "judgments", "ads", "table")
# Largest share of the active time for validation data, and for hold-out data.
_MAX_PERIOD_SHARE = 0.1
_NOTES_FILE = "snapshot.json"
# Largest share of the events for validation data, and for hold-out data.
_MAX_EVENT_SHARE = 0.2
_DAY_US = 86_400_000_000  # microseconds
_MICROSECONDS = 1e6  # in a second


def open_or_compose(lake: Lake, snapshots_folder: Path, settings: Settings) -> Snapshot:
    """The snapshot of all parts of the lake; it is composed unless a snapshot of the same parts exists.

    Args:
        lake: The lake.
        snapshots_folder: Folder of the shop's snapshots.
        settings: Split and click fraud settings.
    """
    cache_file = snapshots_folder / f"{_cache_key(lake.parts, settings)}.json"
    if cache_file.exists():
        digest = msgspec.json.decode(cache_file.read_bytes(), type=str)
        if _is_complete(snapshots_folder / digest[:16]):
            snapshot = dataset.open_snapshot(snapshots_folder, digest)
            return replace(snapshot, logged=lake.last_seqs())
    snapshot = compose(lake, snapshots_folder, settings)
    write_bytes(cache_file, msgspec.json.encode(snapshot.digest))
    return snapshot


def compose(lake: Lake, snapshots_folder: Path, settings: Settings) -> Snapshot:
    """Write the snapshot of all parts of the lake. Its digest hashes the rows, not the files that they came in.

    Args:
        lake: The lake.
        snapshots_folder: Folder of the shop's snapshots.
        settings: Split and click fraud settings.
    """
    snapshots_folder.mkdir(parents=True, exist_ok=True)
    label = next((part.label for part in lake.parts if part.table == "table"), "")
    tables = {part.table for part in lake.parts if part.rows}
    with tempfile.TemporaryDirectory(dir=snapshots_folder, prefix=".") as scratch:
        files = {name: Path(scratch) / f"{name}.parquet" for name in _TABLES if name in tables}
        digests = {name: _write_table(lake, name, file) for name, file in files.items()}
        cuts = None
        fraud_weeks = None
        if "events" in files:
            cuts = split_times(pl.read_parquet(files["events"], columns=["timestamp"]), settings)
            if settings.ingest.exclude_click_fraud:
                fraud_weeks = _detect_click_fraud(files["events"])
        digest = _snapshot_digest(digests, fraud_weeks, label, cuts)
        rows = {name: _count_rows(file) for name, file in files.items()}
        n_rejected = sum(part.quarantined for part in lake.parts)
        snapshot = Snapshot(digest, snapshots_folder / digest[:16], rows, cuts, n_rejected, logged=lake.last_seqs())
        notes = {**asdict(snapshot), "label": label}
        del notes["folder"]
        del notes["added"]
        with atomic_folder(snapshot.folder, _is_complete) as target:
            for name, file in files.items():
                (target / f"{name}.parquet").hardlink_to(file)
            if fraud_weeks is not None:
                click_fraud.write(target, fraud_weeks)
            (target / _NOTES_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(notes)))
    return snapshot


def _is_complete(folder: Path) -> bool:
    """Whether a snapshot is whole: its notes are written last and, in earlier versions, removed first."""
    return (folder / _NOTES_FILE).exists()


def _snapshot_digest(digests: dict[str, str], fraud_weeks: pl.DataFrame | None, label: str, cuts: Cuts | None) -> str:
    content = " ".join(f"{name}:{digest}" for name, digest in digests.items())
    if fraud_weeks is not None and len(fraud_weeks):
        content += f" doubted:{sorted(fraud_weeks.rows())}"
    return sha256(f"{content} {label} {cuts}".encode()).hexdigest()


def split_times(events: pl.DataFrame, settings: Settings) -> Cuts:
    """Times that split a log into fit, validation and hold-out data.

    Validation and hold-out data have the lengths of the settings, or a tenth of a log that is too short for them. Only days with
    events count: a log with a gap (an old export, then live events) is split where it is dense. Neither period has more than a
    fifth of the events, but at least those of one timestamp, so that short sequences are split at their last steps. A log with
    a single timestamp is split at random, since ``data.dataset`` spreads its events over a second.
    """
    times = np.sort(events["timestamp"].cast(pl.Int64).to_numpy())
    if times[0] == times[-1]:
        begin = float(times[0] / _MICROSECONDS)
        return Cuts(begin + 1.0 - 2 * _MAX_PERIOD_SHARE, begin + 1.0 - _MAX_PERIOD_SHARE, begin + 1.0)
    active_clock = _ActiveDayClock(np.unique(times // _DAY_US))
    end_time = times[-1] / _MICROSECONDS + 1.0
    start = active_clock.to_active_seconds(times[0] / _MICROSECONDS)
    end = active_clock.to_active_seconds(end_time)
    max_period = _MAX_PERIOD_SHARE * (end - start)
    holdout_period = min(settings.split.holdout_days * DAY, max_period)
    validation_period = min(settings.split.validation_days * DAY, max_period)
    holdout = _limit_held_back_events(times, active_clock.to_timestamp(end - holdout_period))
    earlier_times = times[: np.searchsorted(times, holdout * _MICROSECONDS)]
    validation_start = active_clock.to_active_seconds(holdout) - validation_period
    validation = _limit_held_back_events(earlier_times, active_clock.to_timestamp(validation_start))
    return Cuts(validation=validation, holdout=holdout, end=float(end_time))


def _limit_held_back_events(times: NDArray[np.int64], since: float) -> float:
    """``since``, or the first later time at or after which at most a fifth of the events lie, but at least one.

    Args:
        times: (n,) sorted times of events in microseconds.
        since: Seconds since 1970.
    """
    min_earlier = len(times) - int(_MAX_EVENT_SHARE * len(times))
    first_row = int(np.searchsorted(times, since * _MICROSECONDS))
    if min_earlier <= first_row < len(times):
        return since
    if first_row < min_earlier:
        first_row = int(np.searchsorted(times, times[min_earlier - 1], side="right"))
    first_row_of_last_time = int(np.searchsorted(times, times[-1]))
    return float(times[min(first_row, first_row_of_last_time)] / _MICROSECONDS)


class _ActiveDayClock:
    """A clock that runs only on some ``days`` (days since 1970, sorted)."""

    def __init__(self, days: NDArray[np.int64]) -> None:
        self._days = days

    def to_active_seconds(self, timestamp: float) -> float:
        """Seconds on this clock of a timestamp that lies on one of its days, or at the very end of one."""
        day = int(np.searchsorted(self._days, np.ceil(timestamp / DAY) - 1))
        return day * DAY + (timestamp - self._days[day] * DAY)

    def to_timestamp(self, seconds: float) -> float:
        """Timestamp of seconds on this clock."""
        day = min(int(seconds // DAY), len(self._days) - 1)
        return float(self._days[day] * DAY + seconds - day * DAY)


def _write_table(lake: Lake, table: str, file: Path) -> str:
    """Merge all parts of a table into one file and return the digest of its content.

    A single part that needs no merging is hard-linked.
    """
    parts = [part for part in lake.parts if part.table == table]
    if len(parts) == 1 and (parts[0].content or table == "table"):
        file.hardlink_to(lake.path(parts[0]))
        return parts[0].content or digest_of(file)
    rows = pl.concat([pl.read_parquet(lake.path(part)) for part in parts], how="diagonal_relaxed")
    if table == "events":
        events, content = deduplicate_events(rows)
        write_parquet(events, file)
        return content
    keys = list(KEY_COLUMNS[table])
    latest = rows.unique(keys, keep="last", maintain_order=True).sort(keys)
    columns = [name for name in sorted(latest.columns) if latest[name].null_count() < len(latest)]
    write_parquet(latest.select(columns), file)
    return digest_of(file)


def _detect_click_fraud(events: Path) -> pl.DataFrame | None:
    """Suspected click fraud in a file of events; None if they are not about products."""
    if "product_id" not in pl.read_parquet_schema(events):
        return None
    columns = ["timestamp", "user_id", "type", "product_id"]
    return click_fraud.detect_click_fraud(pl.read_parquet(events, columns=columns))


def _count_rows(file: Path) -> int:
    return int(pl.scan_parquet(file).select(pl.len()).collect().item())


def _cache_key(parts: list[LakePart], settings: Settings) -> str:
    # The order of event files does not matter; in the other tables the last row of a key counts.
    event_digests = sorted(part.digest for part in parts if part.table == "events")
    other_digests = [part.digest for part in parts if part.table != "events"]
    lines = event_digests + other_digests
    return sha256(f"{lines} {settings.split} {settings.ingest}".encode()).hexdigest()[:24]
