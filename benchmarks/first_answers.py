"""From nothing to the first answers and to full models, on the demo's shop.

`vetrina demo --exit` in a fresh folder with cold caches, as a process; its output lines give the times. Memory is the sum of the
proportional set sizes (PSS) of all of its processes, read twice a second. Then the same recipes again with nothing new, as
`vetrina run search recommend`. The demo gives each run a budget of five minutes; runs of the two scenarios go side by side.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.record import heading, note, row
from vetrina import Shop

_PSS_SECONDS = 0.5  # between two readings of memory
_BYTES_PER_GB = 1e9
_ANSWER = re.compile(r"^After (\d+) s, (.*)$")
_TRAINED = re.compile(r"^After (\d+) s all is trained")


def main() -> None:
    """The demo, then a run with nothing new."""
    with tempfile.TemporaryDirectory() as scratch:
        shop_folder = Path(scratch) / "shop"
        _measure_demo(shop_folder)
        _measure_stages(shop_folder)
        _measure_rerun(shop_folder)


def _measure_demo(shop_folder: Path) -> None:
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop_folder), "demo", "--exit", "--port", "0"]
    started = time.perf_counter()
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    memory = _PeakMemory(demo.pid)
    memory.start()
    assert demo.stdout is not None
    answers: dict[str, float] = {}
    for line in demo.stdout:
        print(line, end="", flush=True)
        seconds = time.perf_counter() - started
        answer_line = _ANSWER.match(line)
        if _TRAINED.match(line):
            answers["trained"] = seconds
        elif answer_line is not None:
            kind = "recommend" if "recommended" in answer_line.group(2) else "search"
            answers[kind] = seconds
    status = demo.wait()
    if status != 0:
        raise RuntimeError(f"the demo ended with status {status}")
    row("process start to the first search answer", f"{answers['search']:.0f} s", "goal 45 s; 886 s before")
    row("process start to the first recommend answer", f"{answers['recommend']:.0f} s", "goal 75 s; 886 s before")
    row("both full recipes released", f"{answers['trained']:.0f} s", "goal 360 s; 886 s before")
    row("peak PSS of all processes", f"{memory.stop() / _BYTES_PER_GB:.1f} GB", "goal 6 GB")


def _measure_stages(shop_folder: Path) -> None:
    """Wall and CPU seconds of the stages of the two scenarios, from the records of their runs."""
    shop = Shop(shop_folder)
    heading("Stages of both runs of each scenario, the quick recipe first")
    for run in reversed(shop.shop_context.runs.list_runs()):
        if run.scenario not in ("search", "recommend"):
            continue
        texts = []
        for stage in shop.shop_context.runs.get_run(run.id).stages:
            texts.append(f"{stage.stage} {stage.seconds:.0f} / {stage.cpu_seconds:.0f}")
        row(f"{run.scenario}: {run.why}", "; ".join(texts), "seconds / CPU-seconds")
    for scenario in ("search", "recommend"):
        record = shop.shop_context.registry.get_version(shop.champion(scenario))
        assert record.verdict is not None
        for reason in record.verdict.reasons:
            if reason.reference is not None and reason.reference.kind == "champion":
                note(f"{scenario}, full recipe beside the quick one: {reason.text}")
    shop.shop_context.engine.dispose()


def _measure_rerun(shop_folder: Path) -> None:
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop_folder), "run", "search", "recommend"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    heading("Again")
    row("run with nothing new", f"{time.perf_counter() - started:.1f} s", "goal 5 s; 8 s before")


class _PeakMemory:
    """The largest sum of the PSS of a process and all below it, read in a thread."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._peak_bytes = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> int:
        """End, and return the peak in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak_bytes

    def _watch(self) -> None:
        while not self._stopped.wait(_PSS_SECONDS):
            self._peak_bytes = max(self._peak_bytes, self._sum_pss())

    def _sum_pss(self) -> int:
        total = 0
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        for process in processes:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:  # it has ended
                continue
        return total
