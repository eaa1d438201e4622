"""Events into a snapshot, beside a bare Polars scan of the same file into Parquet (median of five each)."""

import tempfile
import time
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
            bare = median(_time(lambda scan=scan, file=file: scan(file).sink_parquet(root / "bare")) for _ in range(5))
            ours = median(
                _time(lambda n=n, file=file: Shop(root / f"shop-{file.suffix}-{n}").ingest(events=[file]))
                for n in range(5)
            )
            row(
                f"ingest 1.47 M events, {file.suffix}",
                f"{ours:.2f} s",
                f"bare Polars {bare:.2f} s, ratio {bare / ours:.2f}",
            )


def _time(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
