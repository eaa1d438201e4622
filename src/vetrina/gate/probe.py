"""Serving probe: opens a bundle in a fresh process and measures latency, CPU and memory."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core import clock, cpu_features
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.files import size_of
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.protocols import Context
from vetrina.scenarios.base import PredictionBundle, find_scenario

BATCH_ROWS = 64
_TIMED_REQUESTS = 60
_WARM_UP_REQUESTS = 5
_TIMED_BATCHES = 20
_TIMEOUT_SECONDS = 120
_TRAINING_LIBRARIES = ("torch", "polars", "pyarrow", "pandas", "transformers", "onnx", "ray", "duckdb")


class ProbeResult(msgspec.Struct, frozen=True):
    """Milliseconds, megabytes and CPU-microseconds of one fresh process.

    ``cpu_us`` is the CPU time of one answer, ``row_cpu_us`` that of each row in a batch of ``BATCH_ROWS``, None where a scenario
    does not answer rows.
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
    """The measurements, or what went wrong in one line."""
    command = [sys.executable, "-m", "vetrina.gate.probe", scenario, str(folder)]
    try:
        process = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_SECONDS} s"
    if process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
        return f"exit status {process.returncode}"
    return msgspec.json.decode(process.stdout, type=ProbeResult)


def measure(scenario: str, folder: Path) -> ProbeResult:
    """Open a bundle and time its answers in this process.

    Raises RuntimeError where serving loads a training library.
    """
    open_start = time.perf_counter()
    opened = find_scenario(scenario).load(folder)
    open_ms = 1e3 * (time.perf_counter() - open_start)
    context = Context(_NoChanges(), _NoChanges(), clock.now())
    answer_ms: list[float] = []
    answer_cpu_us: list[float] = []
    for number in range(_WARM_UP_REQUESTS + _TIMED_REQUESTS):
        wall_start = time.perf_counter()
        cpu_start = time.process_time()
        opened.answer_probe(number, context)
        answer_ms.append(1e3 * (time.perf_counter() - wall_start))
        answer_cpu_us.append(1e6 * (time.process_time() - cpu_start))
    p50_ms, p99_ms = np.percentile(answer_ms[_WARM_UP_REQUESTS:], [50, 99])
    loaded_libraries = [name for name in _TRAINING_LIBRARIES if name in sys.modules]
    if loaded_libraries:
        raise RuntimeError(f"serving loaded {', '.join(loaded_libraries)}")
    row_cpu_us = None
    if isinstance(opened, PredictionBundle):
        row_cpu_us = _row_cpu_us(opened)
    return ProbeResult(
        open_ms=open_ms,
        p50_ms=float(p50_ms),
        p99_ms=float(p99_ms),
        memory_mb=peak_memory_mb(),
        disk_mb=size_of(folder) / 1e6,
        cpu_us=float(np.mean(answer_cpu_us[_WARM_UP_REQUESTS:])),
        row_cpu_us=row_cpu_us,
        processor=cpu_features.cpu_description(),
    )


def _row_cpu_us(loaded_bundle: PredictionBundle) -> float:
    """CPU-microseconds of one row, answered in batches of ``BATCH_ROWS``."""
    loaded_bundle.answer_probe_rows(BATCH_ROWS)
    cpu_start = time.process_time()
    for _ in range(_TIMED_BATCHES):
        loaded_bundle.answer_probe_rows(BATCH_ROWS)
    return 1e6 * (time.process_time() - cpu_start) / (_TIMED_BATCHES * BATCH_ROWS)


class _NoChanges:
    """No events and no catalogue changes since the bundle was built."""

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
