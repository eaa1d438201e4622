"""Events into a snapshot, beside a bare Polars scan of the same file into Parquet.

Each run has a process of its own, as the command line has, the two in turn; seconds and CPU-seconds after the imports, median
of seven.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.record import row
from vetrina import Shop
from vetrina.demo import write_input_files

_RUNS = 7


def main() -> None:
    """Complete Journey's purchases as CSV and as Parquet."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        events = write_input_files(root).events[0]
        csv = root / "events.csv"
        pl.read_parquet(events).write_csv(csv)
        for file in (csv, events):
            seconds = {"bare": [], "ours": []}
            for turn in range(_RUNS):
                for how, runs in seconds.items():
                    runs.append(_alone(how, file, root / f"{how}-{file.suffix}-{turn}"))
            ours, bare = (tuple(median(x) for x in zip(*seconds[how], strict=True)) for how in ("ours", "bare"))
            row(
                f"ingest 1.47 M events, {file.suffix}",
                f"{ours[0]:.2f} s ({ours[1]:.2f} CPU-s)",
                f"bare Polars {bare[0]:.2f} s ({bare[1]:.2f} CPU-s), ratio {bare[0] / ours[0]:.2f}",
            )


def _alone(how: str, file: Path, into: Path) -> tuple[float, float]:
    """Wall and CPU seconds in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.ingest", how, str(file), str(into)]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    wall, cpu = output.split()
    return float(wall), float(cpu)


def _once(how: str, file: Path, into: Path) -> None:
    scan = pl.scan_csv if file.suffix == ".csv" else pl.scan_parquet
    wall = time.perf_counter()
    cpu = time.process_time()
    if how == "bare":
        scan(file).sink_parquet(into)
    else:
        Shop(into).ingest(events=[file])
    print(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    _once(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
