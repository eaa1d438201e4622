"""Events into a snapshot, beside a bare Polars scan of the same file into Parquet: seconds and CPU-seconds, median of five."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.data import row
from vetrina import Shop
from vetrina.demo import files


def main() -> None:
    """Complete Journey's purchases as CSV and as Parquet."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        events = files(root).events[0]
        csv = root / "events.csv"
        pl.read_parquet(events).write_csv(csv)
        for file, scan in ((csv, pl.scan_csv), (events, pl.scan_parquet)):
            bare = _median(lambda _, scan=scan, file=file: scan(file).sink_parquet(root / "bare"))
            ours = _median(lambda n, file=file: Shop(root / f"shop-{file.suffix}-{n}").ingest(events=[file]))
            row(
                f"ingest 1.47 M events, {file.suffix}",
                f"{ours[0]:.2f} s ({ours[1]:.2f} CPU-s)",
                f"bare Polars {bare[0]:.2f} s ({bare[1]:.2f} CPU-s), ratio {bare[0] / ours[0]:.2f}",
            )


def _median(work: Callable[[int], object]) -> tuple[float, float]:
    """Wall and CPU seconds of ``work``, which is told its turn."""
    walls, cpus = [], []
    for turn in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        work(turn)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus)
