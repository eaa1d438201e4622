"""The path's wall time and memory by stage, the server's start, memory and CPU a request, on the demo's shop.

A query on the command line is a whole process: its CPU time is user and system time, the median of 5 runs, beside that of
`python -c "import numpy"` in the same run.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.record import row
from vetrina import Shop
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.snapshots import InputFiles
from vetrina.demo import write_input_files
from vetrina.pipeline.path import path
from vetrina.simulate.processes import start_command

_REQUESTS = 2_000
_PROCESSES = 5  # of each command
_QUERIES = {"recommend USER": ("recommend", "1042"), "search QUERY": ("search", "chocolate milk")}


def main() -> None:
    """Builds the shop (or takes the one in VETRINA_BENCH_SHOP) and serves it."""
    given = os.environ.get("VETRINA_BENCH_SHOP")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(given) if given else Path(scratch)
        started = time.perf_counter()
        shop = Shop(root)
        shop.shop_context.ingest(write_input_files(root / "source"))
        for scenario in ("search", "recommend"):
            path(shop.shop_context, InputFiles(), scenario)
        if not given:
            row(
                "path: files to released versions",
                f"{time.perf_counter() - started:.0f} s, peak {peak_memory_mb():.0f} MB",
                "goal 600 s, 6,000 MB",
            )
            for scenario in ("search", "recommend"):
                for stage in shop.shop_context.runs.list_stages(scenario):
                    row(f"  {scenario}: {stage.stage}", f"{stage.seconds:.1f} s, peak so far {stage.peak_mb:.0f} MB")
        _serve(root)


def _serve(root: Path) -> None:
    begun = time.perf_counter()
    server, url = start_command(root, "serve", "--port", "0")
    address = url.removeprefix("http://")
    try:
        connection = http.client.HTTPConnection(address, timeout=60)
        body = {"query": "chocolate milk", "limit": 10}
        _ask(connection, "/v1/search", body)
        row("server start to first answer", f"{time.perf_counter() - begun:.2f} s", "goal 1.5 s")
        for what, route, sent in (
            ("empty-model request (/healthz)", "/healthz", None),
            ("search", "/v1/search", body),
            ("recommend a known user", "/v1/recommend", {"user_id": "1042"}),
            ("recommend a session", "/v1/recommend", {"product_ids": ["1082185", "1029743"], "placement": "cart"}),
        ):
            row(what, *_cost(connection, server.pid, route, sent))
        row("memory of the worker", f"{_memory_mb(server.pid):.0f} MB resident", "goal 400 MB")
        measure_command_line(root, "with a running service", "goal 0.5 CPU-s")
    finally:
        server.terminate()
        server.wait()
    measure_command_line(root, "without a service", "goal 1.0 CPU-s")
    row('python -c "import numpy"', f"{_process_cpu_seconds('-c', 'import numpy'):.2f} CPU-s", "reference of this run")


def measure_command_line(root: Path, circumstances: str, goal: str) -> None:
    """CPU time of queries on the command line.

    Args:
        root: the shop's folder.
        circumstances: whether a service runs, for the row.
        goal: the goal of the row.
    """
    for command, query in _QUERIES.items():
        seconds = _process_cpu_seconds("-m", "vetrina.cli", "--shop-dir", str(root), *query)
        row(f"vetrina {command}, {circumstances}", f"{seconds:.2f} CPU-s", goal)


def _process_cpu_seconds(*arguments: str) -> float:
    """Median user and system time of a Python process and what it starts."""
    measured = []
    for _ in range(_PROCESSES):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        user_seconds = after.children_user - before.children_user
        system_seconds = after.children_system - before.children_system
        measured.append(user_seconds + system_seconds)
    return statistics.median(measured)


def _cost(
    connection: http.client.HTTPConnection, pid: int, route: str, body: Mapping[str, object] | None
) -> tuple[str, str]:
    for _ in range(50):
        _ask(connection, route, body)
    before = _cpu_seconds(pid)
    begun = time.perf_counter()
    for _ in range(_REQUESTS):
        _ask(connection, route, body)
    cpu = _cpu_seconds(pid) - before
    wall = time.perf_counter() - begun
    return f"{1e6 * cpu / _REQUESTS:.0f} us CPU, {1e3 * wall / _REQUESTS:.2f} ms", "goal 150 us" if body is None else ""


def _ask(connection: http.client.HTTPConnection, route: str, body: Mapping[str, object] | None) -> None:
    if body is None:
        connection.request("GET", route)
    else:
        connection.request("POST", route, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    line = next(li for li in Path(f"/proc/{pid}/status").read_text().splitlines() if li.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
