"""Acknowledged events a second beside a bare batched insert into the same kind of table, in the same run.

Protocol: 20,000 events in requests of 20 from 8 threads, each waiting for its acknowledgement; the bare insert commits the same
rows in batches of 20, one after the other, on the same database with the same durability. Median of three.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from sqlalchemy import Column, Engine, MetaData, String, Table, Text, insert

from benchmarks.record import row
from vetrina.core.keys import load_or_create
from vetrina.store.database import open_store
from vetrina.store.event_log import Event, EventLog

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
_EVENTS = 20_000
_BATCH = 20
_THREADS = 8
_BODY = '{"type":"click","product_id":"p0001","request_id":"0123456789abcdef","position":3}'


def main() -> None:
    """SQLite, PostgreSQL and MariaDB where they are."""
    import servers  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        _measure("SQLite", f"sqlite:///{root / 'store.db'}", root)
        for name, start in (("PostgreSQL", servers.postgresql), ("MariaDB", servers.mariadb)):
            folder = root / name
            folder.mkdir()
            with start(folder) as server:
                _measure(name, servers.fresh_database(server, "bench"), root)


def _measure(name: str, url: str, root: Path) -> None:
    engine = open_store(url, load_or_create(root / "keys"))
    bare = median(_bare(engine, n) for n in range(3))
    ours = median(_ours(engine, root, n) for n in range(3))
    reference = f"bare batched insert {bare:,.0f}, ratio {ours / bare:.2f} (goal 0.5)"
    row(f"acknowledged events a second, {name}", f"{ours:,.0f}", reference)
    engine.dispose()


def _bare(engine: Engine, turn: int) -> float:
    columns = (Column("event_id", String(64), primary_key=True), Column("user", String(32)), Column("body", Text))
    table = Table(f"bare{turn}", MetaData(), *columns)
    table.create(engine)
    started = time.perf_counter()
    for start in range(0, _EVENTS, _BATCH):
        rows = [{"event_id": f"{n}", "user": f"u{n % 500}", "body": _BODY} for n in range(start, start + _BATCH)]
        with engine.begin() as connection:
            connection.execute(insert(table), rows)
    return _EVENTS / (time.perf_counter() - started)


def _ours(engine: Engine, root: Path, turn: int) -> float:
    log = EventLog(engine, load_or_create(root / "keys"))

    def post(start: int) -> None:
        ids = range(start, start + _BATCH)
        log.add([Event(f"{turn}-{n}", f"u{n % 500}", None, 1.0, _BODY, b"sealed") for n in ids]).result()

    started = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(post, range(0, _EVENTS, _BATCH)))
    seconds = time.perf_counter() - started
    log.close()
    return _EVENTS / seconds
