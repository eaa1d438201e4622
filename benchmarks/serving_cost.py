"""What serving costs: start, memory of a replica, CPU of a million requests, and what a second worker brings.

The demo's shop, trained (VETRINA_BENCH_SHOP names one that is trained already), served from a copy. Requests are those of its own
log, open loop: a Poisson process of 40 requests a second for 15 s, each kind alone, one event a request. CPU is user and system
time of all processes of a server, less what they take in as long a time without requests. Memory is the proportional set size
(PSS) of all of them after these requests. The other model servers answer a query with a constant list of ten products from one
worker: what they take, they take before any model. They run in environments of their own, whose Pythons
VETRINA_BENCH_BENTOML and VETRINA_BENCH_RAY_SERVE name. The sustained rate is that of `vetrina bench load`: p99 within 100 ms. It
is left out where other work takes the processors.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import uvloop

from benchmarks.record import heading, note, row
from vetrina import Shop
from vetrina.demo import write_input_files
from vetrina.simulate.load_test import LoadStep, LoadTarget, calls, highest_rate, summarise
from vetrina.simulate.open_loop import Answers, Load
from vetrina.simulate.process_usage import LocalUsage
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.request_sample import RequestPool, sample_requests
from vetrina.simulate.shop_copy import copy_of_shop

_RATE = 40.0  # requests a second, which a worker carries on half of a core
_SECONDS = 15.0
_WARM_UP_SECONDS = 3.0
_STARTS = 5
_MILLION = 1e6
_SECONDS_PER_HOUR = 3_600.0
_TARGET_MS = 100.0
_DEADLINE_SECONDS = 15.0  # on a busy machine, too, every request is to be answered
_SUSTAINED_STEP_SECONDS = 5.0
_MAX_CONNECTIONS = 1_000
_WORKERS = (1, 2, 4)
_READY_SECONDS = 120.0
_ITEMS = [{"product_id": f"{1_000_000 + n}", "title": "a product of the catalogue", "score": 0.5} for n in range(10)]
_QUERIES = RequestPool("query", "/answer", (b'{"query": "chocolate milk", "limit": 10}',), 1.0, "")
_BENTOML = f"""\
import bentoml

@bentoml.service(workers=1)
class Reference:
    @bentoml.api(route="/answer")
    def answer(self, query: str, limit: int = 10) -> dict:
        return {{"items": {_ITEMS!r}}}
"""
_RAY_SERVE = f"""\
import sys, time
from ray import serve

@serve.deployment(num_replicas=1)
class Reference:
    async def __call__(self, request):
        await request.json()
        return {{"items": {_ITEMS!r}}}

serve.start(http_options={{"host": "127.0.0.1", "port": int(sys.argv[1])}})
serve.run(Reference.bind(), route_prefix="/answer")
time.sleep(3_600)
"""


@dataclass(frozen=True)
class _Server:
    """A running server: where it is, and its processes."""

    address: tuple[str, int]
    usage: LocalUsage
    token: str = ""

    @property
    def target(self) -> LoadTarget:
        """The server as a load sees it."""
        host, port = self.address
        return LoadTarget(self.address, f"{host}:{port}", "", self.token, self.usage)


def main() -> None:
    """Vetrina, then the other servers."""
    given = os.environ.get("VETRINA_BENCH_SHOP")
    is_busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as scratch:
        shop = Shop(given or Path(scratch) / "shop")
        if not given:
            shop.shop_context.ingest(write_input_files(shop.folder.root / "source"))
            shop.fit("search", "recommend")
        pools = sample_requests(shop, with_events=True)
        with copy_of_shop(shop.folder) as folder:
            token = shop.folder.keys.api_token
            _measure_start(folder)
            _measure_cost(folder, token, pools)
            ranked = [pool for pool in pools if pool.name != "events"]
            _measure_workers(folder, token, ranked)
            _measure_rates(folder, token, ranked, is_busy=is_busy)
        shop.shop_context.engine.dispose()
        _measure_reference("BentoML", "VETRINA_BENCH_BENTOML", "bentoml", Path(scratch))
        _measure_reference("Ray Serve", "VETRINA_BENCH_RAY_SERVE", "ray[serve]", Path(scratch))


def _measure_start(folder: Path) -> None:
    heading("Start")
    wall_seconds: list[float] = []
    cpu_seconds: list[float] = []
    for _ in range(_STARTS):
        began = time.perf_counter()
        with _serving(folder, "") as server:
            wall_seconds.append(time.perf_counter() - began)
            cpu_seconds.append(server.usage.cpu_seconds())
    row(
        f"process start to ready, {_STARTS} starts",
        f"median {statistics.median(wall_seconds):.2f} s, best {min(wall_seconds):.2f} s",
        "goal 2 s",
    )
    row("CPU until ready", f"median {statistics.median(cpu_seconds):.2f} CPU-s")


def _measure_cost(folder: Path, token: str, pools: Sequence[RequestPool]) -> None:
    heading("CPU of a million requests, one worker")
    with _serving(folder, token) as server:
        for pool in pools:
            _report_cost(f"Vetrina, {pool.name}", server, pool)


def _report_cost(what: str, server: _Server, pool: RequestPool) -> None:
    alone = replace(pool, share=1.0)
    _load([server], alone, _RATE, _WARM_UP_SECONDS)
    idle_before = server.usage.cpu_seconds()
    time.sleep(_SECONDS)
    before = server.usage.cpu_seconds()
    (step,) = _load([server], alone, _RATE, _SECONDS)
    spent = server.usage.cpu_seconds() - before
    idle = before - idle_before
    cpu_ms = 1e3 * (spent - idle) / step.requests
    hours = cpu_ms * _MILLION / 1e3 / _SECONDS_PER_HOUR
    failed = f"; {step.failed} of {step.requests:,} failed {dict(step.failures)}" if step.failed else ""
    row(
        what,
        f"{hours:.2f} CPU-hours ({cpu_ms:.2f} ms each){failed}",
        f"{100 * idle / _SECONDS:.1f} % of a core without requests; {server.usage.memory_mb():.0f} MB PSS",
    )


def _measure_workers(folder: Path, token: str, pools: Sequence[RequestPool]) -> None:
    heading("Workers, each a process with a port of its own; search and recommend")
    for n_workers in _WORKERS:
        with ExitStack() as stack:
            servers = [stack.enter_context(_serving(folder, token)) for _ in range(n_workers)]
            _load(servers, pools, _RATE, _WARM_UP_SECONDS)
            before = sum(server.usage.cpu_seconds() for server in servers)
            steps = _load(servers, pools, _RATE, _SECONDS)
            spent = sum(server.usage.cpu_seconds() for server in servers) - before
            cpu_ms = 1e3 * spent / sum(step.requests for step in steps)
            memory_mb = sum(server.usage.memory_mb() for server in servers)
        row(
            f"{n_workers} worker{'s' if n_workers > 1 else ''}",
            f"{memory_mb:.0f} MB PSS, {memory_mb / n_workers:.0f} each; {cpu_ms:.2f} CPU-ms a request",
        )


def _measure_rates(folder: Path, token: str, pools: Sequence[RequestPool], *, is_busy: bool) -> None:
    n_cores = os.cpu_count() or 1
    heading(f"Sustained rate by workers; {n_cores} cores for all of them and the load")
    if is_busy:
        note(
            "The sustained rates were left out, and CPU times are too high: other work took this machine's processors."
        )
        return
    alone = 0.0
    for n_workers in [number for number in _WORKERS if number <= n_cores]:
        with ExitStack() as stack:
            servers = [stack.enter_context(_serving(folder, token)) for _ in range(n_workers)]
            _load(servers, pools, _RATE, _WARM_UP_SECONDS)
            sustained = highest_rate(lambda rate, servers=servers: _keeps_target(servers, pools, rate))
        alone = alone or sustained
        row(
            f"{n_workers} worker{'s' if n_workers > 1 else ''}",
            f"{sustained:.0f} requests/s",
            f"{sustained / alone:.2f} times that of one" if alone else "",
        )


def _keeps_target(servers: Sequence[_Server], pools: Sequence[RequestPool], rate: float) -> bool:
    """Whether all workers keep the target; a rate that is missed is measured twice, as `vetrina bench load` does."""
    for _ in range(2):
        steps = _load(servers, pools, rate, _SUSTAINED_STEP_SECONDS)
        if all(step.keeps_target for step in steps):
            return True
    return False


def _measure_reference(what: str, variable: str, package: str, scratch: Path) -> None:
    heading(f"{what}: a constant answer")
    python = os.environ.get(variable)
    if not python:
        note(f"Without {what}: `pip install '{package}'` in an environment of its own, and {variable}=its Python.")
        return
    version = subprocess.run(
        [python, "-c", f"import importlib.metadata as m; print(m.version({package.partition('[')[0]!r}))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with _reference_server(what, python, scratch) as server:
        _report_cost(f"{what} {version}", server, _QUERIES)


def _load(
    servers: Sequence[_Server], pools: RequestPool | Sequence[RequestPool], rate: float, seconds: float
) -> list[LoadStep]:
    """What each of the servers answers to its part of a rate; they are loaded beside each other."""
    pools_of_load = [pools] if isinstance(pools, RequestPool) else pools
    part = rate / len(servers)

    async def send() -> list[Answers]:
        loads = [
            Load(server.address, deadline_seconds=_DEADLINE_SECONDS, most_connections=_MAX_CONNECTIONS)
            for server in servers
        ]
        waiting = []
        for seed, (load, server) in enumerate(zip(loads, servers, strict=True)):
            waiting.append(load.open_loop(calls(pools_of_load, server.target), [(part, seconds)], seed))
        answers = await asyncio.gather(*waiting)
        for load in loads:
            load.close()
        return answers

    return [summarise(answers, part, None, _TARGET_MS, _DEADLINE_SECONDS) for answers in uvloop.run(send())]


@contextmanager
def _serving(folder: Path, token: str) -> Iterator[_Server]:
    """A worker of a shop, once it is ready."""
    process, url = start_command(folder, "serve", "--port", "0")
    try:
        with httpx.Client(base_url=url) as client:
            wait_until_ready(client)
        host, _, port = url.removeprefix("http://").partition(":")
        yield _Server((host, int(port)), LocalUsage(process.pid), token)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _reference_server(what: str, python: str, scratch: Path) -> Iterator[_Server]:
    """Another model server with one worker, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if what == "BentoML":
        (scratch / "reference.py").write_text(_BENTOML)
        command = [python, "-m", "bentoml", "serve", "reference:Reference", "--host", "127.0.0.1", "--port", str(port)]
    else:
        (scratch / "reference_ray.py").write_text(_RAY_SERVE)
        command = [python, "reference_ray.py", str(port)]
    # Neither is to report to its makers, and Ray wants a token unless it is configured otherwise.
    settings = {"BENTOML_DO_NOT_TRACK": "True", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (scratch / "reference.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=scratch, env={**environment, **settings}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{what}: {(scratch / 'reference.log').read_text(errors='replace')[-2_000:]}")
            time.sleep(0.2)
        yield _Server(("127.0.0.1", port), LocalUsage(process.pid))
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{_QUERIES.path}", _QUERIES.bodies[0], {"content-type": "application/json"}
    )
    with suppress(OSError), urllib.request.urlopen(request, timeout=5.0) as answer:  # noqa: S310
        return answer.status == 200
    return False


if __name__ == "__main__":
    sys.exit("python -m benchmarks serving_cost")
