"""Opens a bundle in a process of its own, as a server would, and times its answers."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import clock, cpu_features, plugins
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.files import size_of
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.protocols import Context

BATCH_ROWS = 64
_TIMED_REQUESTS = 60
_WARM_UP_REQUESTS = 5
_TIMED_BATCHES = 20
_TIMEOUT_SECONDS = 120
_TRAINING_LIBRARIES = ("torch", "polars", "pyarrow", "pandas", "transformers", "onnx", "ray", "duckdb")


class ProbeResult(msgspec.Struct, frozen=True):
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


def probe_in_fresh_process(scenario: str, folder: Path) -> ProbeResult | str:
    """What was seen, or what went wrong in one line."""
    command = [sys.executable, "-m", "vetrina.gate.probe", scenario, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_SECONDS} s"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {done.returncode}"
    return msgspec.json.decode(done.stdout, type=ProbeResult)


def measure(scenario: str, folder: Path) -> ProbeResult:
    """Open and answer in this process."""
    started = time.perf_counter()
    opened = plugins.load_module("scenarios", scenario, "online").load(folder)
    open_ms = 1e3 * (time.perf_counter() - started)
    context = Context(_NoChanges(), _NoChanges(), clock.now())
    times = []
    work = []
    for number in range(_WARM_UP_REQUESTS + _TIMED_REQUESTS):
        begun = time.perf_counter()
        worked = time.process_time()
        opened.answer_probe(number, context)
        times.append(1e3 * (time.perf_counter() - begun))
        work.append(1e6 * (time.process_time() - worked))
    p50, p99 = np.percentile(times[_WARM_UP_REQUESTS:], [50, 99])
    loaded = [m for m in _TRAINING_LIBRARIES if m in sys.modules]
    if loaded:
        raise RuntimeError(f"serving loaded {', '.join(loaded)}")
    rows = _row_cpu_us(opened) if hasattr(opened, "answer_probe_rows") else None
    disk = size_of(folder) / 1e6
    cpu = float(np.mean(work[_WARM_UP_REQUESTS:]))
    return ProbeResult(
        open_ms, float(p50), float(p99), peak_memory_mb(), disk, cpu, rows, cpu_features.cpu_description()
    )


def _row_cpu_us(loaded_bundle: Any) -> float:
    """CPU-microseconds of one of ROWS rows."""
    loaded_bundle.answer_probe_rows(BATCH_ROWS)
    begun = time.process_time()
    for _ in range(_TIMED_BATCHES):
        loaded_bundle.answer_probe_rows(BATCH_ROWS)
    return 1e6 * (time.process_time() - begun) / (_TIMED_BATCHES * BATCH_ROWS)


class _NoChanges:
    """Nothing happened since the bundle was built."""

    def for_user(
        self, user: str | None, session: str | None, since: float, after_seq: int
    ) -> Iterable[tuple[str, float, float]]:
        """No event."""
        return ()

    def changes_after(self, after_seq: int) -> DeltaIndex:
        """No change."""
        return DeltaIndex()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(sys.argv[1], Path(sys.argv[2]))))
