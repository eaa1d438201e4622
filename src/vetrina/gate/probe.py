"""Opens a bundle in a process of its own, as a server would, and times its answers."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import clock, plugins, processor
from vetrina.core.delta import Delta
from vetrina.core.files import size_of
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.protocols import Context

ROWS = 64
_REQUESTS, _WARM_UP, _TIMES, _TIMEOUT = 60, 5, 20, 120
_TRAINING_LIBRARIES = ("torch", "polars", "pyarrow", "pandas", "transformers", "onnx", "ray", "duckdb")


class Seen(msgspec.Struct, frozen=True):
    """Milliseconds and megabytes of one fresh process, CPU-microseconds of an answer.

    Where a scenario answers rows, ``row_cpu_us`` is that of each of ROWS rows asked at once.
    """

    open_ms: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    disk_mb: float
    cpu_us: float
    row_cpu_us: float | None
    processor: str


def in_fresh_process(scenario: str, folder: Path) -> Seen | str:
    """What was seen, or what went wrong in one line."""
    command = [sys.executable, "-m", "vetrina.gate.probe", scenario, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT} s"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {done.returncode}"
    return msgspec.json.decode(done.stdout, type=Seen)


def measure(scenario: str, folder: Path) -> Seen:
    """Open and answer in this process."""
    started = time.perf_counter()
    opened = plugins.part("scenarios", scenario, "online").open(folder)
    open_ms = 1e3 * (time.perf_counter() - started)
    context = Context(_Quiet(), _Quiet(), clock.now())
    times, work = [], []
    for number in range(_WARM_UP + _REQUESTS):
        begun, worked = time.perf_counter(), time.process_time()
        opened.try_out(number, context)
        times.append(1e3 * (time.perf_counter() - begun))
        work.append(1e6 * (time.process_time() - worked))
    p50, p99 = np.percentile(times[_WARM_UP:], [50, 99])
    loaded = [m for m in _TRAINING_LIBRARIES if m in sys.modules]
    if loaded:
        raise RuntimeError(f"serving loaded {', '.join(loaded)}")
    rows = _of_rows(opened) if hasattr(opened, "try_out_rows") else None
    disk, cpu = size_of(folder) / 1e6, float(np.mean(work[_WARM_UP:]))
    return Seen(open_ms, float(p50), float(p99), peak_memory_mb(), disk, cpu, rows, processor.kind())


def _of_rows(opened: Any) -> float:
    """CPU-microseconds of one of ROWS rows."""
    opened.try_out_rows(ROWS)
    begun = time.process_time()
    for _ in range(_TIMES):
        opened.try_out_rows(ROWS)
    return 1e6 * (time.process_time() - begun) / (_TIMES * ROWS)


class _Quiet:
    """Nothing happened since the bundle was built."""

    def of(
        self, user: str | None, session: str | None, until: float, logged: int
    ) -> Iterable[tuple[str, float, float]]:
        """No event."""
        return ()

    def after(self, logged: int) -> Delta:
        """No change."""
        return Delta()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(sys.argv[1], Path(sys.argv[2]))))
