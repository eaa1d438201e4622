"""A dump of a store, whichever database it lies in, holds every row and is loaded into every other database."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import BigInteger, Boolean, Column, Engine, Float, Integer, LargeBinary, insert, select

from vetrina.core.errors import BadInput
from vetrina.core.keys import Keys, load_or_create
from vetrina.store.database import consistent_read, open_database, open_store, read
from vetrina.store.dump import TableLayout, load_store, row_pages, table_layouts
from vetrina.store.tables import SCHEMA_VERSION, events, leases, log_locks, metadata, run_steps, runs, schema_version

Rows = dict[str, list[tuple[Any, ...]]]
ROWS = 2_003  # of a table: more than a page
TEXTS = ("plain", "Größe 好 😀", "a'b\"c\\d\n\t", "UPPER", "upper ", "")


@pytest.fixture
def keys(tmp_path) -> Keys:
    """Keys of a new shop."""
    return load_or_create(tmp_path / "keys")


def fill(engine: Engine) -> None:
    """Rows in every table, with values that databases treat differently."""
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name in (schema_version.name, log_locks.name):
                continue
            n_rows = ROWS if table.name in ("events", "expectations") else 3
            rows = [{column.name: value_of(column, n) for column in table.columns} for n in range(n_rows)]
            connection.execute(insert(table), rows)


def value_of(column: Column[Any], n: int) -> Any:
    """A value of a column in row ``n``; keys are unique, and what may be null is so in every third row."""
    if column.name == "state":
        return ("queued", "running", "done")[n % 3]
    if isinstance(column.type, Boolean):
        return (True, False, None)[n % 3]
    if column.nullable and n % 3 == 2:
        return None
    if isinstance(column.type, Float):
        return 0.1 + n + 1e-12
    if isinstance(column.type, BigInteger | Integer):
        return n + 1
    if isinstance(column.type, LargeBinary):
        return bytes([n % 256, 0, 255, 128])
    if column.primary_key or column.unique or column.name in ("event_id", "user", "rollout"):
        return f"{column.name}{n:05d}"
    length = getattr(column.type, "length", None)
    return TEXTS[n % len(TEXTS)][:length]


def dump(engine: Engine) -> tuple[list[TableLayout], list[tuple[str, bytes]]]:
    """Layouts and pages."""
    with consistent_read(engine) as connection:
        layouts = table_layouts(connection)
        return layouts, [(layout.name, page.content) for layout in layouts for page in row_pages(connection, layout)]


def rows_of(pages: Sequence[tuple[str, bytes]]) -> Rows:
    """Rows by table, whatever order a database keeps text in."""
    rows: Rows = {}
    for name, page in pages:
        rows.setdefault(name, []).extend(tuple(row) for row in msgspec.msgpack.decode(page))
    return {name: sorted(table_rows, key=repr) for name, table_rows in rows.items()}


def test_every_row_goes_from_any_database_to_sqlite_and_back(url, fresh_url, keys, tmp_path):
    engine = open_store(url, keys)
    fill(engine)
    layouts, pages = dump(engine)
    engine.dispose()
    assert {layout.name for layout in layouts} == set(metadata.tables)
    dumped = rows_of(pages)
    assert set(dumped) == set(metadata.tables) - {leases.name, run_steps.name}
    assert len(dumped["events"]) == len(dumped["expectations"]) == ROWS

    sqlite_url = f"sqlite:///{tmp_path / 'copy.db'}"
    in_sqlite = open_database(sqlite_url)
    assert load_store(in_sqlite, layouts, pages) == sum(len(rows) for rows in dumped.values())
    again = dump(in_sqlite)
    in_sqlite.dispose()
    open_store(sqlite_url, keys).dispose()  # a whole store of this Vetrina, with these keys

    back = open_database(fresh_url)
    load_store(back, *again)
    returned = rows_of(dump(back)[1])
    back.dispose()
    open_store(fresh_url, keys).dispose()
    running = [row for row in dumped["runs"] if "running" in row]
    assert running, "one of the runs was under way"
    for name in dumped:
        if name != runs.name:
            assert rows_of(again[1])[name] == dumped[name] == returned[name], name


def restored_copy(url, fresh_url, keys) -> Engine:
    """A filled store, dumped and loaded into the other database."""
    engine = open_store(url, keys)
    fill(engine)
    content = dump(engine)
    engine.dispose()
    copy = open_database(fresh_url)
    load_store(copy, *content)
    return copy


def test_what_was_under_way_starts_anew(url, fresh_url, keys):
    restored = restored_copy(url, fresh_url, keys)
    with read(restored) as connection:
        assert connection.execute(select(leases)).all() == []
        assert connection.execute(select(run_steps)).all() == []
        run = connection.execute(select(runs).where(runs.c.id == "id00001")).one()
    restored.dispose()
    assert (run.state, run.started, run.attempts) == ("queued", None, 3)


def test_new_rows_are_numbered_after_the_restored_ones(url, fresh_url, keys):
    loaded = restored_copy(url, fresh_url, keys)
    loaded.dispose()
    restored = open_store(fresh_url, keys)
    with restored.begin() as connection:
        row = {"event_id": "next", "user": "next", "time": 1.0, "body": "{}"}
        connection.execute(insert(events).values(**row))
        assert connection.execute(select(events.c.seq).where(events.c.event_id == "next")).scalar() == ROWS + 1
    restored.dispose()


def test_a_database_with_rows_is_left_alone(url, keys, tmp_path):
    engine = open_store(url, keys)
    content = dump(engine)
    with pytest.raises(BadInput, match="holds the store of a shop already"):
        load_store(engine, *content)
    with read(engine) as connection:
        assert connection.execute(select(schema_version.c.version)).scalar() == SCHEMA_VERSION
    engine.dispose()


def test_a_load_that_ends_in_the_middle_leaves_a_database_that_the_next_one_fills(url, fresh_url, keys):
    engine = open_store(url, keys)
    fill(engine)
    layouts, pages = dump(engine)
    engine.dispose()

    def cut_off():
        yield from pages[: len(pages) // 2]
        raise KeyboardInterrupt

    restored = open_database(fresh_url)
    with pytest.raises(KeyboardInterrupt):
        load_store(restored, layouts, cut_off())
    load_store(restored, layouts, pages)
    assert rows_of(dump(restored)[1])["events"] == rows_of(pages)["events"]
    restored.dispose()


def test_a_dump_shows_one_moment_while_others_write(url, keys):
    engine = open_store(url, keys)
    fill(engine)
    other = open_store(url, keys)
    reader = open_database(url)
    with consistent_read(reader) as connection:
        with other.begin() as writer:  # waits for nobody
            writer.execute(insert(events).values(seq=ROWS + 1, event_id="late", user="late", time=1.0, body="{}"))
        layouts = table_layouts(connection)
        pages = [(item.name, page.content) for item in layouts for page in row_pages(connection, item)]
    assert len(rows_of(pages)["events"]) == ROWS
    reader.dispose()
    other.dispose()
    engine.dispose()


def test_a_table_of_somebody_else_is_neither_dumped_nor_dropped(tmp_path: Path, keys):
    file = tmp_path / "store.db"
    engine = open_store(f"sqlite:///{file}", keys)
    layouts, pages = dump(engine)
    engine.dispose()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    restored = open_database(f"sqlite:///{other}")
    load_store(restored, layouts, pages)
    assert "orders" not in {layout.name for layout in dump(restored)[0]}
    restored.dispose()
    with sqlite3.connect(other) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)

    same_name = tmp_path / "same-name.db"
    with sqlite3.connect(same_name) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    refused = open_database(f"sqlite:///{same_name}")
    with pytest.raises(BadInput, match="holds a table users of another program"):
        load_store(refused, layouts, pages)
    refused.dispose()
    with sqlite3.connect(same_name) as connection:
        assert connection.execute("SELECT count(name) FROM users").fetchone() == (0,)
