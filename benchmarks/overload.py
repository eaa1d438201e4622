"""A service beyond its limits: five times saturation, a stopped store, idle connections, a full disk, and CPU per request.

A shop of 40 products with recommend and search, one worker, one thread, on loopback. Requests are half recommend, three tenths
search and two tenths events, each event in a request of its own. Saturation is what 32 clients get that send their next request
once the last one is answered. All else is open loop: requests arrive in a Poisson process, latency counts from the scheduled
time, and a client that has no answer after 1 s closes its connection; at most 4,000 are open. Memory is the proportional set
size (PSS) of the worker and its children, read twice a second. PostgreSQL is stopped with SIGSTOP, so that connections hang
instead of failing. The full disk holds the store alone, on SQLite. Acknowledged events are looked up by their ids afterwards.
CPU is user and system time of the worker, in windows that alternate between this commit and the reference.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import uvloop
from numpy.typing import NDArray

from benchmarks.no_worse import ROOT, CommandFailed, source_of, write_keys
from benchmarks.record import heading, note, record, row
from vetrina.simulate.open_loop import Answers, Call, Load

sys.path.insert(0, str(ROOT / "tests"))

_REFERENCE = "3610065"  # the last commit before requests and queues had limits
_DEADLINE_SECONDS = 1.0
_MOST_CONNECTIONS = 4_000
_CLOSED_LOOP_CONNECTIONS = 32
_CLOSED_LOOP_SECONDS = 10.0
_OVERLOAD = 5.0  # times saturation
_AFTERWARDS = 0.3  # of saturation
_AFTERWARDS_SECONDS = 10.0
_RATE = 200.0  # requests a second, well below saturation
_AROUND_SECONDS = 10.0  # before and after an outage
_IDLE_CONNECTIONS = 1_000
_DISK_MB = 32
_WINDOW_SECONDS = 1.0  # in which CPU is measured
_FEWEST_WINDOWS = 3
_DRAWS = 2_000  # of the bootstrap
_SCHEDULER_CLOCK = 2  # CPUCLOCK_SCHED of Linux: with the process id it is that process's CPU clock, in nanoseconds
_PSS_SECONDS = 0.5  # between two readings of memory
_START_SECONDS = 60.0
_BYTES_PER_MB = 1e6
_FROM_MEMORY = b"\r\nx-vetrina-degraded:"  # header of answers that were given without the store
_MIXED = ("recommend",) * 5 + ("search",) * 3 + ("event",) * 2
_SETTINGS = """\
[train]
threads = 1
exclude_models = ["fusion", "sasrec", "gru", "mlp", "dcn"]

[gate]
latency_ms = 60000
"""


@dataclass(frozen=True)
class _Setup:
    """What the parts share: scratch space, the sources to run, and a trained shop for each of them."""

    scratch: Path
    source: Path
    reference: Path | None

    def shop(self, name: str, source: Path | None = None) -> Path:
        """A copy of the trained shop, trained by a source at its first call."""
        if source is None:
            source = self.source
        trained = self.scratch / f"trained by {source.parent.name}"
        if not trained.exists():
            _train(source, trained, _SETTINGS)
        return shutil.copytree(trained, self.scratch / name)


def main(parts: Sequence[str] = (), seconds: float | None = None, reference: str = _REFERENCE) -> None:
    """Measures all parts or the named ones.

    Args:
        parts: names of ``PARTS``; all if there are none.
        seconds: length of the load of each part instead of its own.
        reference: commit whose CPU per request is compared.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        reference_source = None
        source = source_of("working tree", root / "this").src
        if not parts or "cpu" in parts:
            try:
                reference_source = source_of(reference, root / reference).src
            except CommandFailed as error:
                note(f"Without the reference: {error}.")
        setup = _Setup(root, source, reference_source)
        for name in parts or PARTS:
            measure, usual_seconds = PARTS[name]
            measure(setup, seconds or usual_seconds)


# Five times saturation


def _measure_overload(setup: _Setup, seconds: float) -> None:
    heading("Five times saturation")
    with _serving(setup.source, setup.shop("overload")) as server:
        uvloop.run(_overload(server, seconds))


async def _overload(server: "_Server", seconds: float) -> None:
    closed = Load(server.address, deadline_seconds=60.0, most_connections=_CLOSED_LOOP_CONNECTIONS)
    saturated = await closed.closed_loop(_calls("s"), _CLOSED_LOOP_CONNECTIONS, _CLOSED_LOOP_SECONDS)
    closed.close()
    saturation = _Outcome(saturated).n_ok / _CLOSED_LOOP_SECONDS
    row("saturation, 32 clients in turn", f"{saturation:,.0f} requests/s")

    offered = _OVERLOAD * saturation
    async with _memory(server) as readings:
        load = _open_load(server, b"\r\nretry-after:")
        phases = ((offered, seconds), (_AFTERWARDS * saturation, _AFTERWARDS_SECONDS))
        answers = await load.open_loop(_calls("o"), phases)
        load.close()
    outcome = _Outcome(answers, 0.0, seconds)
    row(f"offered for {seconds:.0f} s", f"{offered:,.0f} requests/s", f"{_OVERLOAD:.0f} times saturation")
    row("answered within 1 s", f"{outcome.n_ok / seconds:,.0f} requests/s; {outcome.latency()}")
    with_header = f"{outcome.n_refused / seconds:,.0f} requests/s, {outcome.n_refused_with_mark / seconds:,.0f} of them"
    row("refused with 503", with_header, "with Retry-After: goal all")
    row("neither", f"{outcome.share(outcome.n_neither)}: {outcome.neither()}", "goal none")
    row("worker", server.state(), "goal alive")
    row("memory (PSS)", _memory_text(readings), "goal bounded")
    row("seconds until all is answered again", _recovery(answers, seconds), "goal 2 s")
    note(f"The generator itself was at most {1e3 * answers.most_behind:.0f} ms late.")


def _recovery(answers: Answers, end_of_overload: float) -> str:
    """When the last request of the time afterwards that was not answered in time had been scheduled."""
    last = end_of_overload
    for status, scheduled in zip(answers.statuses, answers.scheduled, strict=True):
        if not 200 <= status < 300:
            last = max(last, scheduled)
    if last > end_of_overload + _AFTERWARDS_SECONDS - 1.0:
        return f"not within {_AFTERWARDS_SECONDS:.0f} s"
    return f"{last - end_of_overload:.1f} s"


# A stopped store


def _measure_store(setup: _Setup, seconds: float) -> None:
    import servers  # pyright: ignore[reportMissingImports]

    heading(f"PostgreSQL stopped for {seconds:.0f} s")
    with tempfile.TemporaryDirectory() as folder, servers.postgresql(Path(folder)) as postgresql:
        url = servers.fresh_database(postgresql, "overload")
        shop = setup.scratch / "on PostgreSQL"
        _train(setup.source, shop, f'{_SETTINGS}\n[store]\nurl = "{url}"\n')
        pid_file = Path(folder) / "pg" / "postmaster.pid"
        postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
        with _serving(setup.source, shop) as server:
            answers, readings = uvloop.run(_stop_store(server, postmaster, seconds))
            state = server.state()
        _report_outage(answers, seconds)
        meanwhile = _Outcome(answers, _AROUND_SECONDS, _AROUND_SECONDS + seconds)
        row(
            "answers that say that the store is gone",
            f"{meanwhile.n_ok_with_mark:,}",
            "goal all but those of the first second",
        )
        row("worker", state, "goal alive")
        row("memory (PSS)", _memory_text(readings), "goal bounded")
        _report_events(answers, shop)


async def _stop_store(server: "_Server", postmaster: psutil.Process, seconds: float) -> tuple[Answers, Sequence[float]]:
    """The answers, and readings of the memory."""
    load = _open_load(server, _FROM_MEMORY)
    phases = [(_RATE, _AROUND_SECONDS + seconds + 2 * _AROUND_SECONDS)]
    async with _memory(server) as readings:
        running = asyncio.ensure_future(load.open_loop(_calls("p", (*_MIXED, "healthz")), phases))
        await asyncio.sleep(_AROUND_SECONDS)
        stopped = [postmaster, *postmaster.children(recursive=True)]
        _signal(stopped, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _signal(stopped, signal.SIGCONT)
        answers = await running
        load.close()
    return answers, readings


def _signal(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _report_outage(answers: Answers, seconds: float) -> None:
    """Rows of what happened before, during and after an outage that began after ``_AROUND_SECONDS``."""
    end = _AROUND_SECONDS + seconds
    for what, begin, until in (
        ("before", 0.0, _AROUND_SECONDS),
        ("meanwhile", _AROUND_SECONDS, end),
        ("from 2 s afterwards on", end + 2.0, end + 2 * _AROUND_SECONDS),
    ):
        ranked = _Outcome(answers, begin, until, ("recommend", "search"))
        goal = "goal 100 %" if what == "meanwhile" else ""
        row(f"answers, {what}", f"{ranked.share(ranked.n_ok)} of {ranked.n:,} in time; {ranked.latency()}", goal)
        sent = _Outcome(answers, begin, until, ("event",))
        acknowledged = f"{sent.n_ok:,} acknowledged, {sent.n_refused:,} with 503, {sent.n_neither:,} neither"
        row(f"events, {what}", f"{acknowledged}; {sent.latency()}")
    health = _Outcome(answers, _AROUND_SECONDS, end, ("healthz",))
    if health.n:
        row("/healthz, meanwhile", f"{health.share(health.n_ok)} in time; {health.latency()}", "goal 100 %")


def _report_events(answers: Answers, shop: Path) -> None:
    """The row of events that were acknowledged and are not in the store."""
    import shops  # pyright: ignore[reportMissingImports]

    acknowledged = set()
    for name, status in zip(answers.names, answers.statuses, strict=True):
        if status == 202:
            acknowledged.add(name.removeprefix("event "))
    stored = shops.stored_event_ids(shop)
    lost = len(acknowledged - set(stored))
    doubled = len(stored) - len(set(stored))
    row("acknowledged events", f"{len(acknowledged):,}, {lost} lost, {doubled} doubled", "goal none lost, none doubled")


# Idle connections


def _measure_idle(setup: _Setup, seconds: float) -> None:
    heading(f"{_IDLE_CONNECTIONS:,} idle connections, {_RATE:.0f} requests/s")
    with _serving(setup.source, setup.shop("idle")) as server:
        uvloop.run(_idle(server, seconds))


async def _idle(server: "_Server", seconds: float) -> None:
    await _report_latency(server, "without them", "i", seconds)
    connections = []
    for _ in range(_IDLE_CONNECTIONS):
        connections.append(await asyncio.open_connection(*server.address))
    await _report_latency(server, "beside them", "j", seconds)
    still_open = sum(not reader.at_eof() for reader, _ in connections)
    row("idle connections still open", f"{still_open:,}")
    for _, writer in connections:
        writer.close()


async def _report_latency(server: "_Server", what: str, prefix: str, seconds: float) -> None:
    load = _open_load(server)
    outcome = _Outcome(await load.open_loop(_calls(prefix), [(_RATE, seconds)]))
    load.close()
    text = f"{outcome.share(outcome.n_ok)} in time; {outcome.latency()}; {server.pss_mb():.0f} MB PSS"
    row(f"requests, {what}", text, "goal 100 %")


# A full disk


def _measure_disk(setup: _Setup, seconds: float) -> None:
    heading(f"A disk of {_DISK_MB} MB that is full for {seconds:.0f} s")
    shop = setup.shop("disk")
    with _small_disk(setup.scratch / "small disk") as disk:
        if disk is None:
            note("A full disk was left out: mounting a small file system needs rights that are not there.")
            return
        url = f"sqlite:///{shutil.copy(shop / 'store.db', disk)}"
        (shop / "store.db").unlink()
        (shop / "vetrina.toml").write_text(f'{_SETTINGS}\n[store]\nurl = "{url}"\n')
        with _serving(setup.source, shop) as server:
            answers = uvloop.run(_fill_disk(server, disk / "ballast", seconds))
            state = server.state()
        _report_outage(answers, seconds)
        row("worker", state, "goal alive")
        _report_events(answers, shop)


async def _fill_disk(server: "_Server", ballast: Path, seconds: float) -> Answers:
    load = _open_load(server)
    phases = [(_RATE, _AROUND_SECONDS + seconds + 2 * _AROUND_SECONDS)]
    running = asyncio.ensure_future(load.open_loop(_calls("d"), phases))
    await asyncio.sleep(_AROUND_SECONDS)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(ballast.parent).free)
    await asyncio.sleep(seconds)
    ballast.unlink()
    answers = await running
    load.close()
    return answers


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own; None where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# CPU


def _measure_cpu(setup: _Setup, seconds: float) -> None:
    windows = max(_FEWEST_WINDOWS, round(seconds))
    heading(f"CPU per request at {_RATE:.0f} requests/s, {windows} windows of {_WINDOW_SECONDS:.0f} s")
    with _serving(setup.source, setup.shop("cpu")) as server:
        if setup.reference is None:
            _compare_cpu(server, None, windows)
            return
        with _serving(setup.reference, setup.shop("cpu of the reference", setup.reference)) as reference:
            _compare_cpu(server, reference, windows)


def _compare_cpu(server: "_Server", reference: "_Server | None", windows: int) -> None:
    for kind in ("healthz", "recommend", "search", "event"):
        microseconds: list[float] = []
        differences: list[float] = []
        for window in range(windows + 1):
            spent_by: dict[_Server | None, float] = {None: np.nan}
            order = [server, reference]
            if window % 2:
                order.reverse()
            for served in filter(None, order):
                spent_by[served] = uvloop.run(_cpu_microseconds(served, f"c{window}", kind))
            if window > 0:  # the first one warms up
                microseconds.append(spent_by[server])
                differences.append(spent_by[server] - spent_by[reference])
        beside = ""
        if reference is not None:
            beside = f"beside the reference {_median_with_interval(differences)} us; goal at most +40"
        row(kind, f"{statistics.median(microseconds):.0f} us", beside)


def _median_with_interval(differences: Sequence[float]) -> str:
    """The median with its 95 % percentile bootstrap interval over windows."""
    drawn = np.random.default_rng(42).choice(np.array(differences), (_DRAWS, len(differences)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return f"{statistics.median(differences):+.0f} [{low:+.0f}, {high:+.0f}]"


async def _cpu_microseconds(server: "_Server", prefix: str, kind: str) -> float:
    """CPU time per answered request in a window."""
    load = _open_load(server)
    before = server.cpu_seconds()
    outcome = _Outcome(await load.open_loop(_calls(prefix, [kind]), [(_RATE, _WINDOW_SECONDS)]))
    spent = server.cpu_seconds() - before
    load.close()
    return 1e6 * spent / max(1, outcome.n_ok)


PARTS: dict[str, tuple[Callable[[_Setup, float], None], float]] = {  # how it is measured, and the seconds of its load
    "overload": (_measure_overload, 60.0),
    "store": (_measure_store, 30.0),
    "idle": (_measure_idle, 20.0),
    "disk": (_measure_disk, 30.0),
    "cpu": (_measure_cpu, 20.0),
}


# What the parts share


def _train(source: Path, shop: Path, settings: str) -> None:
    """A shop of 40 products whose recommend and search serve."""
    import shops  # pyright: ignore[reportMissingImports]

    shop.mkdir()
    (shop / "vetrina.toml").write_text(settings)
    write_keys(shop / "keys", "overload")
    with tempfile.TemporaryDirectory() as scratch:
        files = {**shops.checkerboard(Path(scratch)), "judgments": shops.judged(Path(scratch))}
        tables: list[str] = []
        for table, file in files.items():
            tables += [f"--{table}", str(file)]
        for words in (("ingest", *tables), ("run", "recommend", "search")):
            done = subprocess.run(
                _command(shop, *words), env=_environment(source), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise CommandFailed(f"vetrina {words[0]}: {done.stdout}{done.stderr}")


def _command(shop: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), *words]


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}


def _calls(prefix: str, kinds: Sequence[str] = _MIXED) -> Iterator[Call]:
    """Requests without an end, drawn from ``kinds``; the ids of events begin with ``prefix``."""
    rng = random.Random(42)  # noqa: S311
    rankings = {"recommend": _recommend_calls(), "search": _search_calls(), "healthz": [("healthz", _get("/healthz"))]}
    for number in itertools.count():
        kind = rng.choice(kinds)
        if kind == "event":
            event_id = f"{prefix}-{number}"
            user_id = f"u{rng.randrange(60):03d}"
            event = {"event_id": event_id, "user_id": user_id, "type": "view", "product_id": "p001"}
            yield f"event {event_id}", _post("/v1/events", event)
        else:
            yield rng.choice(rankings[kind])


def _recommend_calls() -> list[Call]:
    return [("recommend", _post("/v1/recommend", {"user_id": f"u{user:03d}", "limit": 10})) for user in range(60)]


def _search_calls() -> list[Call]:
    import shops  # pyright: ignore[reportMissingImports]

    pairs = itertools.product(shops.COLOURS, shops.KINDS)
    return [("search", _post("/v1/search", {"query": f"{colour} {kind}", "limit": 10})) for colour, kind in pairs]


def _get(route: str) -> bytes:
    return f"GET {route} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def _post(route: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {route} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return head.encode() + f"content-length: {len(content)}\r\n\r\n".encode() + content


class _Outcome:
    """Counts and latencies of the requests that were scheduled in a time.

    Args:
        answers: the answers to a load.
        begin: seconds since the load began, inclusive.
        end: seconds since the load began, exclusive.
        kinds: first words of the names of the requests that count; all if there are none.
    """

    def __init__(self, answers: Answers, begin: float = 0.0, end: float = np.inf, kinds: Sequence[str] = ()) -> None:
        scheduled = np.array(answers.scheduled)
        counts = (scheduled >= begin) & (scheduled < end)
        if kinds:
            counts &= np.array([name.partition(" ")[0] in kinds for name in answers.names], dtype=bool)
        self._statuses: NDArray[np.int16] = np.array(answers.statuses)[counts]
        marked = np.array(answers.marked, dtype=bool)[counts]
        is_ok = (self._statuses >= 200) & (self._statuses < 300)
        is_refused = self._statuses == 503
        self._neither = self._statuses[~is_ok & ~is_refused]
        self._milliseconds = 1e3 * np.array(answers.seconds)[counts][is_ok]
        self.n = len(self._statuses)
        self.n_ok = int(is_ok.sum())
        self.n_ok_with_mark = int((is_ok & marked).sum())
        self.n_refused = int(is_refused.sum())
        self.n_refused_with_mark = int((is_refused & marked).sum())
        self.n_neither = len(self._neither)

    def share(self, count: int) -> str:
        """A count as a share of all requests; 100 % only if it is all of them."""
        if not self.n or count == self.n:
            return "100 %"
        return f"{min(99.9, 100 * count / self.n):.1f} %"

    def latency(self) -> str:
        """Median and 99th percentile of the answered requests."""
        if not len(self._milliseconds):
            return "no latency"
        median, high = np.quantile(self._milliseconds, (0.5, 0.99))
        return f"p50 {median:.1f} ms, p99 {high:.0f} ms"

    def neither(self) -> str:
        """How requests ended that were neither answered nor refused."""
        names = {1: "timed out", 2: "cut off", 3: "without a free connection"}
        texts = []
        for status, count in zip(*np.unique(self._neither, return_counts=True), strict=True):
            texts.append(f"{count:,} {names.get(int(status), f'with status {status}')}")
        return ", ".join(texts) or "none"


class _Server:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.address = ("127.0.0.1", port)
        self._process = process
        self._of_system = psutil.Process(process.pid)

    def pss_mb(self) -> float:
        """Proportional set size of the process and its children."""
        return sum(process.memory_full_info().pss for process in self._processes()) / _BYTES_PER_MB

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children."""
        clocks = [(~process.pid << 3) | _SCHEDULER_CLOCK for process in self._processes()]
        return sum(time.clock_gettime(clock) for clock in clocks)

    def state(self) -> str:
        """Whether it still runs."""
        status = self._process.poll()
        return "alive" if status is None else f"ended with status {status}"

    def _processes(self) -> list[psutil.Process]:
        return [self._of_system, *self._of_system.children(recursive=True)]


@contextmanager
def _serving(source: Path, shop: Path) -> Iterator[_Server]:
    """A service of a shop, by the code of a source, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log_path = shop / "service.log"
    with log_path.open("wb") as log:
        command = _command(shop, "serve", "--port", str(port))
        process = subprocess.Popen(command, env=_environment(source), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"vetrina serve: {log_path.read_text(errors='replace')[-2_000:]}")
            time.sleep(0.1)
        yield _Server(process, port)
    finally:
        process.kill()
        process.wait()


def _is_ready(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5.0) as answer:
        return answer.status == 200
    return False


def _open_load(server: _Server, mark: bytes = b"") -> Load:
    return Load(server.address, deadline_seconds=_DEADLINE_SECONDS, most_connections=_MOST_CONNECTIONS, mark=mark)


@asynccontextmanager
async def _memory(server: _Server) -> AsyncIterator[list[float]]:
    """Readings of the memory of a server in megabytes, from now until the end of the context."""
    readings = [server.pss_mb()]

    async def read() -> None:
        while True:
            await asyncio.sleep(_PSS_SECONDS)
            readings.append(await asyncio.to_thread(server.pss_mb))

    reading = asyncio.ensure_future(read())
    try:
        yield readings
    finally:
        reading.cancel()
        readings.append(server.pss_mb())


def _memory_text(readings: Sequence[float]) -> str:
    return f"{readings[0]:.0f} MB at first, {max(readings):.0f} MB at most, {readings[-1]:.0f} MB afterwards"


def _run() -> None:
    """The whole benchmark is recorded; a part of it, or a shorter one, is only printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--part", action="append", choices=tuple(PARTS), default=[], help="may be repeated")
    parser.add_argument("--seconds", type=float, help="length of the load of each part")
    parser.add_argument("--reference", default=_REFERENCE, help="commit whose CPU per request is compared")
    given = parser.parse_args()
    if given.part or given.seconds:
        main(given.part, given.seconds, given.reference)
    else:
        record("overload", __doc__, lambda: main(reference=given.reference))


if __name__ == "__main__":
    _run()
