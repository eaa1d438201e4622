"""kill -9 at any moment: nothing acknowledged is lost, nothing is half-written, the same command goes on."""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import shops
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from vetrina import Shop
from vetrina.store import eventlog
from vetrina.store.database import open_store

pytestmark = pytest.mark.heavy


def command(folder: Path, *words: str) -> list[str]:
    """A real process."""
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_anywhere_ends_like_one_that_was_not(tmp_path: Path, url: str, seed: int):
    files = shops.checkerboard(tmp_path, users=40, items=30, days=40)
    folder = tmp_path / "shop"
    on(folder, url)
    rng = random.Random(seed)
    steps = (("ingest", "--products", str(files["products"]), "--events", str(files["events"])), ("run", "recommend"))
    for step in steps:
        for _ in range(3):
            process = subprocess.Popen(command(folder, *step), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.2, 12.0 if step[0] == "run" else 2.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command(folder, *step), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shop = Shop(folder)
    registry = shop.workshop.registry
    champion, _ = registry.champion("recommend")
    assert champion is not None
    assert registry.show(champion)["verdict"]["outcome"] in ("pass", "baseline")
    assert len(registry.promotions("recommend")) == 1, "one verdict, one promotion"
    assert {r["state"] for r in shop.workshop.runs.all()} == {"done"}
    shop.folder.bundles.unpack(champion, check_parts=True)
    assert shop.recommend("u003", limit=5).items
    assert shop.ingest().rows == {"products": 30, "events": 1_600}
    shop.workshop.engine.dispose()


def test_no_acknowledged_event_is_lost_when_the_server_is_killed(trained, url: str, tmp_path: Path):
    folder = shutil.copytree(trained[0], tmp_path / "shop")
    on(folder, url)
    for attempt in range(3):
        with serving(folder) as (server, address):
            acknowledged: list[str] = []
            writers = [threading.Thread(target=_post, args=(address, f"{attempt}-{n}", acknowledged)) for n in range(4)]
            for writer in writers:
                writer.start()
            _until(lambda known=acknowledged: len(known) >= 200)
            server.send_signal(signal.SIGKILL)
            for writer in writers:
                writer.join()
        assert len(acknowledged) >= 200
        assert set(acknowledged) <= set(kept(url))


def test_no_acknowledged_event_is_lost_or_doubled_when_connections_are_cut(trained, url: str, tmp_path: Path):
    """The database throws everybody out again and again; what it did not take is sent again by the shop."""
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no connections that could be cut")
    folder = shutil.copytree(trained[0], tmp_path / "shop")
    on(folder, url)
    with serving(folder) as (server, address):
        acknowledged: list[str] = []
        writers = [threading.Thread(target=_post, args=(address, f"c-{n}", acknowledged)) for n in range(4)]
        for writer in writers:
            writer.start()
        for cut in range(1, 8):
            _until(lambda cut=cut: len(acknowledged) >= 100 * cut)
            cut_connections(url)
        _until(lambda: len(acknowledged) >= 1_000)
        server.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.join()
    there = kept(url)
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)


def on(folder: Path, url: str) -> None:
    """Let the shop keep its tables there."""
    folder.mkdir(exist_ok=True)
    (folder / "vetrina.toml").write_text(f'[store]\nurl = "{url}"\n')


@contextmanager
def serving(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own."""
    server = subprocess.Popen(command(folder, "serve", "--port", "0"), stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    yield server, server.stderr.readline().strip().removeprefix("listening on ")
    server.kill()
    server.communicate()


def kept(url: str) -> list[str]:
    """The ids in the store's log."""
    engine = open_store(url)
    found = [e["event_id"] for e in eventlog.after(engine, 0)[0]]
    engine.dispose()
    return found


def cut_connections(url: str) -> None:
    """End every other connection to the database."""
    engine = open_store(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            others = "datname = current_database() AND pid != pg_backend_pid()"
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
        else:
            mine = connection.execute(text("SELECT connection_id()")).scalar()
            query = "SELECT id FROM information_schema.processlist WHERE db = database()"
            for (other,) in connection.execute(text(query)).all():
                if other != mine:
                    with suppress(DBAPIError):  # gone by itself meanwhile
                        connection.execute(text(f"KILL {other}"))
    engine.dispose()


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done()


def _post(address: str, name: str, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=address, timeout=10) as client:
        number = 0
        while True:
            batch = [
                {"user_id": f"k{name}", "type": "view", "product_id": "p001", "event_id": f"{name}-{number + n}"}
                for n in range(5)
            ]
            number += 5
            try:
                answer = client.post("/v1/events", content=json.dumps(batch))
                while answer.status_code == 503:  # not taken: the same again, as the answer says
                    answer = client.post("/v1/events", content=json.dumps(batch))
            except httpx.TransportError:
                if acknowledged and number > 5:
                    return
                time.sleep(0.05)
                continue
            if answer.status_code == 202:
                acknowledged += [e["event_id"] for e in batch]
