"""Opens the store on SQLite, PostgreSQL or MySQL/MariaDB, and brings an older one to this version's schema."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from vetrina.core.errors import BadInput
from vetrina.security.keys import Keys
from vetrina.store.pseudonyms import name_sessions
from vetrina.store.tables import SCHEMA_VERSION, log_locks, metadata, schema_version

_WAL_TIMEOUT_SECONDS = 5.0
_BUSY_MS = 5_000  # how long a statement waits for another process
_UPGRADE_SECONDS = 3_600  # how long a process waits until another has upgraded a long log
LOG_NAMES = ("events", "products", "releases", "runs")
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def open_store(url: str, keys: Keys) -> Engine:
    """Connect, and make or upgrade the tables. Raises BadInput for a wrong URL or a store of a later version.

    ``keys`` are the shop's: an early store holds session ids that become pseudonyms under them.
    """
    engine = _create_engine(url)
    with engine.connect() as connection, _schema_lock(connection):
        there = inspect(connection).has_table(schema_version.name)
        found = connection.execute(select(schema_version.c.version)).scalar() if there else None
        if found is not None and found > SCHEMA_VERSION:
            shown = engine.url.render_as_string(hide_password=True)
            raise BadInput(shown, f"was written by a later Vetrina (schema {found})", "upgrade Vetrina on this machine")
        metadata.create_all(connection)
        if found is None:
            connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
            _insert_log_locks(connection)
        for version in range(found or SCHEMA_VERSION, SCHEMA_VERSION):
            _UPGRADES[version](connection, keys)
            connection.execute(update(schema_version).values(version=version + 1))
        connection.commit()
    return engine


def lock_log(connection: Connection, log: str) -> None:
    """Be the only writer of a log until this transaction ends. SQLite's transactions are alone already."""
    connection.execute(select(log_locks.c.log).where(log_locks.c.log == log).with_for_update())


def _create_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind not in _DRIVERS:
            raise NoSuchModuleError(kind)
    except (ArgumentError, NoSuchModuleError):
        way_out = "give sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE"
        raise BadInput("[store] url", "names no database that Vetrina knows", way_out) from None
    if kind == "sqlite":
        engine = create_engine(url, hide_parameters=True)  # errors reach logs: they must not hold what users did
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    try:
        engine = _server_engine(parsed.set(drivername=_DRIVERS[kind]))
        if kind == "mysql":  # which of the two it is decides the collation; the server says so
            with engine.connect():
                is_mariadb = bool(getattr(engine.dialect, "is_mariadb", False))
            if is_mariadb:
                engine.dispose()
                engine = _server_engine(parsed.set(drivername=_DRIVERS["mariadb"]))
    except ModuleNotFoundError as error:
        raise BadInput(kind, f"needs the driver {error.name}", 'pip install "vetrina[databases]"') from None
    return engine


def _server_engine(url) -> Engine:
    # READ COMMITTED: what a lock was waited for is seen after it; a dropped connection is replaced before use.
    return create_engine(
        url, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_recycle=1_800, hide_parameters=True
    )


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where _sqlite_begin says
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The first switch to WAL needs the file alone and does not wait for it by itself."""
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
    # A transaction that may write takes the lock at its start: none has to be upgraded and refused halfway.
    mode = "" if connection.get_execution_options().get("read_only") else " IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN{mode}")


@contextmanager
def _schema_lock(connection: Connection) -> Iterator[None]:
    """Two processes that open a store together must not both make or upgrade its tables.

    SQLite's transactions are alone already; who comes second waits for the first.
    """
    if connection.dialect.name == "sqlite":
        with _patient(connection):
            yield
        return
    take, give = {
        "postgresql": ("SELECT pg_advisory_lock(8337)", "SELECT pg_advisory_unlock(8337)"),
        "mysql": (f"SELECT GET_LOCK('vetrina', {_UPGRADE_SECONDS})", "SELECT RELEASE_LOCK('vetrina')"),
        "mariadb": (f"SELECT GET_LOCK('vetrina', {_UPGRADE_SECONDS})", "SELECT RELEASE_LOCK('vetrina')"),
    }.get(connection.dialect.name, ("", ""))
    if take:
        connection.execute(text(take))
    try:
        yield
    finally:
        if give:
            connection.rollback()  # what was not committed until here has failed
            connection.execute(text(give))


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Wait for the lock of a SQLite file as long as an upgrade may take."""
    cursor = connection.connection.cursor()  # of the driver: no transaction begins
    cursor.execute(f"PRAGMA busy_timeout={_UPGRADE_SECONDS * 1_000}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        cursor.close()


def _insert_log_locks(connection: Connection) -> None:
    connection.execute(insert(log_locks), [{"log": name} for name in LOG_NAMES])


def _upgrade_from_1(connection: Connection, _: Keys) -> None:
    """0.2.0: exposures know how long they took and which release they were part of; logs have a lock."""
    for column in ("seconds FLOAT(53)", "fault VARCHAR(16)", "rollout VARCHAR(32)", "step INTEGER"):
        connection.execute(text(f"ALTER TABLE exposures ADD COLUMN {column}"))
    connection.execute(text("ALTER TABLE stages ADD COLUMN cpu_seconds FLOAT(53)"))
    connection.execute(text("CREATE INDEX events_by_time ON events (time)"))
    _insert_log_locks(connection)


_UPGRADES: dict[int, Callable[[Connection, Keys], None]] = {1: _upgrade_from_1, 2: name_sessions}
