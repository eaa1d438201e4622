"""Connections to SQLite, PostgreSQL and MySQL/MariaDB, and schema migrations."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Index,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.schema import CreateColumn

from vetrina.core.errors import BadInput
from vetrina.security.keys import Keys
from vetrina.store.pseudonyms import name_sessions
from vetrina.store.tables import SCHEMA_VERSION, events, exposures, log_locks, metadata, schema_version, stages

# How long opening a SQLite file waits to switch it to write-ahead logging.
_WAL_TIMEOUT_SECONDS = 5.0
# How long a SQLite statement waits for another process.
_BUSY_MS = 5_000
# How long a process waits while another one upgrades the store.
_UPGRADE_SECONDS = 3_600
# What ``_sqlite_begin`` and PostgreSQL read. On MariaDB, reading locks nothing in any case.
_READ_ONLY = {"read_only": True, "postgresql_readonly": True}
# Logs that ``lock_log`` knows.
LOG_NAMES = ("events", "products", "releases", "runs")
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def open_store(url: str, keys: Keys) -> Engine:
    """Connect to the store, and create or upgrade its tables.

    Args:
        url: SQLAlchemy URL.
        keys: The shop's keys: an upgrade replaces plain session ids by pseudonyms.

    Raises:
        BadInput: The URL is wrong, or a later version of Vetrina wrote the store.
    """
    engine = _create_engine(url)
    with engine.connect() as connection, _schema_lock(connection):
        stored_version = None
        if inspect(connection).has_table(schema_version.name):
            stored_version = connection.execute(select(schema_version.c.version)).scalar()
        if stored_version is not None and stored_version > SCHEMA_VERSION:
            shown_url = engine.url.render_as_string(hide_password=True)
            rule = f"was written by a later Vetrina (schema {stored_version})"
            raise BadInput(shown_url, rule, "upgrade Vetrina on this machine")
        metadata.create_all(connection)
        if stored_version is None:
            connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
            _insert_log_locks(connection)
        for version in range(stored_version or SCHEMA_VERSION, SCHEMA_VERSION):
            _UPGRADES[version](connection, keys)
            connection.execute(update(schema_version).values(version=version + 1))
            connection.commit()
        connection.commit()
    return engine


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A connection for a transaction that only reads: it takes no lock that a writer waits for."""
    with engine.connect().execution_options(**_READ_ONLY) as connection:
        yield connection


def lock_log(connection: Connection, log: str) -> None:
    """Lock a log for writing until the transaction ends. SQLite locks the whole store anyway."""
    connection.execute(select(log_locks.c.log).where(log_locks.c.log == log).with_for_update())


def _create_engine(url: str) -> Engine:
    try:
        parsed_url = make_url(url)
        backend = parsed_url.get_backend_name()
        if backend not in _DRIVERS:
            raise NoSuchModuleError(backend)
    except (ArgumentError, NoSuchModuleError):
        way_out = "give sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE"
        raise BadInput("[store] url", "names no database that Vetrina knows", way_out) from None
    if backend == "sqlite":
        # Errors reach the log of the service, so they must not contain what users did.
        engine = create_engine(url, hide_parameters=True)
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    try:
        return _server_engine(parsed_url, backend)
    except ModuleNotFoundError as error:
        raise BadInput(backend, f"needs the driver {error.name}", 'pip install "vetrina[databases]"') from None


def _server_engine(url: URL, backend: str) -> Engine:
    engine = _connect_to_server(url.set(drivername=_DRIVERS[backend]))
    if backend != "mysql":
        return engine
    # MySQL and MariaDB have different collations. The URL may be the same; the server reports which one it is.
    with engine.connect():
        is_mariadb = bool(getattr(engine.dialect, "is_mariadb", False))
    if not is_mariadb:
        return engine
    engine.dispose()
    return _connect_to_server(url.set(drivername=_DRIVERS["mariadb"]))


def _connect_to_server(url: URL) -> Engine:
    return create_engine(
        url,
        isolation_level="READ COMMITTED",  # after waiting for a lock, the changes of its last holder are visible
        pool_pre_ping=True,  # replaces a dropped connection before it is used
        pool_recycle=1_800,  # seconds
        hide_parameters=True,
    )


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # _sqlite_begin starts transactions
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. The first switch needs exclusive access and does not wait for it by itself."""
    deadline = time.monotonic() + _WAL_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that may write locks the file at its start: an upgrade of the lock in the middle could fail.
    is_read_only = connection.get_execution_options().get("read_only")
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")


@contextmanager
def _schema_lock(connection: Connection) -> Iterator[None]:
    """Let only one process at a time create or upgrade the tables.

    SQLite locks the whole file, so a second process only has to wait long enough.
    """
    if connection.dialect.name == "sqlite":
        with _long_busy_timeout(connection):
            yield
        return
    if connection.dialect.name == "postgresql":
        lock = "SELECT pg_advisory_lock(8337)"
        unlock = "SELECT pg_advisory_unlock(8337)"
    else:
        lock = f"SELECT GET_LOCK('vetrina', {_UPGRADE_SECONDS})"
        unlock = "SELECT RELEASE_LOCK('vetrina')"
    connection.execute(text(lock))
    try:
        yield
    finally:
        connection.rollback()  # anything that is not committed by now has failed
        connection.execute(text(unlock))


@contextmanager
def _long_busy_timeout(connection: Connection) -> Iterator[None]:
    """Let SQLite wait for the file's lock as long as an upgrade may take."""
    cursor = connection.connection.cursor()  # the driver's cursor starts no transaction
    cursor.execute(f"PRAGMA busy_timeout={_UPGRADE_SECONDS * 1_000}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        cursor.close()


def add_column(connection: Connection, column: Column[Any]) -> None:
    """Add a column of ``store.tables`` to its table, unless an upgrade that was cut off has done it. It must be nullable."""
    if column.name in {existing["name"] for existing in inspect(connection).get_columns(column.table.name)}:
        return
    table_name = connection.dialect.identifier_preparer.format_table(column.table)
    definition = CreateColumn(column).compile(dialect=connection.dialect)
    connection.execute(text(f"ALTER TABLE {table_name} ADD COLUMN {definition}"))


def add_index(connection: Connection, index: Index) -> None:
    """Create an index of ``store.tables``, unless it exists. A unique key is an index with ``unique=True``."""
    index.create(connection, checkfirst=True)


def _insert_log_locks(connection: Connection) -> None:
    existing_logs = set(connection.execute(select(log_locks.c.log)).scalars())
    missing_logs = [{"log": name} for name in LOG_NAMES if name not in existing_logs]
    if missing_logs:
        connection.execute(insert(log_locks), missing_logs)


def _upgrade_from_1(connection: Connection, _: Keys) -> None:
    """To the schema of 0.2.0: exposures have duration, fault, rollout and step; logs have locks."""
    for column in (exposures.c.seconds, exposures.c.fault, exposures.c.rollout, exposures.c.step, stages.c.cpu_seconds):
        add_column(connection, column)
    add_index(connection, _index(events, "events_by_time"))
    _insert_log_locks(connection)


def _upgrade_from_3(connection: Connection, keys: Keys) -> None:
    for step in _STEPS_FROM_3:
        step(connection, keys)
        connection.commit()


def _events_of_users(connection: Connection, _: Keys) -> None:
    """An event id is unique for its user, no longer for the shop; events know who sent them and when they arrived."""
    if connection.dialect.name == "sqlite":
        _rebuild_events(connection)
        return
    for column in (events.c.source, events.c.sender, events.c.arrived, events.c.over_cap):
        add_column(connection, column)
    connection.execute(update(events).where(events.c.arrived.is_(None)).values(arrived=events.c.time))
    for name in ("events_once", "events_by_arrival"):
        add_index(connection, _index(events, name))
    for constraint in inspect(connection).get_unique_constraints(events.name):
        if constraint["column_names"] == ["event_id"]:
            name = connection.dialect.identifier_preparer.quote(str(constraint["name"]))
            kind = "CONSTRAINT" if connection.dialect.name == "postgresql" else "INDEX"
            connection.execute(text(f"ALTER TABLE events DROP {kind} {name}"))


def _rebuild_events(connection: Connection) -> None:
    """SQLite cannot drop a unique key: the table is written anew, in one transaction."""
    inspector = inspect(connection)
    constraints = inspector.get_unique_constraints(events.name)
    if all(constraint["column_names"] != ["event_id"] for constraint in constraints):
        return
    kept_columns = [column["name"] for column in inspector.get_columns(events.name) if column["name"] in events.c]
    for index in inspector.get_indexes(events.name):
        if index["name"] in {known.name for known in events.indexes}:
            connection.execute(text(f"DROP INDEX {index['name']}"))
    connection.execute(text("ALTER TABLE events RENAME TO events_3"))
    events.create(connection)
    names = ", ".join(f'"{name}"' for name in kept_columns)
    connection.execute(text(f"INSERT INTO events ({names}) SELECT {names} FROM events_3"))  # noqa: S608 - column names
    connection.execute(text("DROP TABLE events_3"))
    connection.execute(update(events).where(events.c.arrived.is_(None)).values(arrived=events.c.time))


def _index(table: Table, name: str) -> Index:
    return next(index for index in table.indexes if index.name == name)


# Steps to schema 4, in order. A step is committed by itself and may run again after a crash, so it changes only
# what is not there yet: see ``add_column`` and ``add_index``. New tables are created before the first step.
_STEPS_FROM_3: tuple[Callable[[Connection, Keys], None], ...] = (_events_of_users,)
# Upgrade to the next schema, by schema version.
_UPGRADES: dict[int, Callable[[Connection, Keys], None]] = {
    1: _upgrade_from_1,
    2: name_sessions,
    3: _upgrade_from_3,
}
