"""Connections to SQLite, PostgreSQL and MySQL/MariaDB, and schema migrations."""

import math
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Index,
    Table,
    case,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateColumn

from vetrina.core import clock
from vetrina.core.errors import BadInput, Conflict
from vetrina.core.files import create_private
from vetrina.core.keys import BadSignature, Keys
from vetrina.store.pseudonyms import name_sessions
from vetrina.store.tables import SCHEMA_VERSION, events, exposures, log_locks, metadata, schema_version, stages, users

# How long anything waits for the database: the alternative to an error is to wait for ever.
CONNECT_SECONDS = 5
LOCK_SECONDS = 5
POOL_SECONDS = 5.0
SERVING_STATEMENT_SECONDS = 10.0
JOB_STATEMENT_SECONDS = 600.0
# After this time the server ends the transaction of a process that was stopped in the middle of it.
_IDLE_TRANSACTION_SECONDS = 60
# By which the client waits longer than the server, which reports a limit more clearly.
_CLIENT_MARGIN_SECONDS = 5.0
# Instructions of a SQLite statement, about a millisecond, between two looks at the time.
_SQLITE_LIMIT_INTERVAL = 100_000
# How long a process waits while another one creates or upgrades the tables.
_SCHEMA_LOCK_SECONDS = 60.0
_POLL_SECONDS = 0.02
_MYSQL_TIME = "SELECT timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1e6"
# Seconds since 1970, by dialect.
_DATABASE_TIME = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch from clock_timestamp())",
    "mysql": _MYSQL_TIME,
    "mariadb": _MYSQL_TIME,
}
# What SQLite's ``begin`` and PostgreSQL's driver read. On MariaDB, reading locks nothing in any case.
_READ_ONLY = {"read_only": True, "postgresql_readonly": True}
# Logs that ``lock_log`` knows.
LOG_NAMES = ("events", "products", "releases", "runs")
# Words in drivers' messages about certificates and settings of TLS.
_TLS_WORDS = ("certificate", "sslmode")
_URL_OPTIONS = (
    "docs/how-to/operate.md shows the options for TLS: ?sslmode=verify-full&sslrootcert=FILE, or ?ssl_ca=FILE"
)
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def open_store(url: str, keys: Keys, statement_seconds: float = JOB_STATEMENT_SECONDS) -> Engine:
    """Connect to the store, and create its tables if it is empty. Nothing else changes its schema but ``upgrade_store``.

    Args:
        url: SQLAlchemy URL.
        keys: The shop's keys, which the store must belong to.
        statement_seconds: Longest duration of a statement.

    Raises:
        BadInput: The URL is wrong, another version of Vetrina wrote the store, or it belongs to another shop.
    """
    engine = _create_engine(url, statement_seconds)
    try:
        if stored_schema(engine) is None:
            _create_tables(engine, keys)
        _refuse_older_schema(engine)
        _refuse_other_shops(engine, keys)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_older_store(url: str) -> Engine:
    """Connect to a store for an upgrade: statements may take as long as they need. Raises BadInput where there is none."""
    parsed_url = _parse(url)
    if parsed_url.get_backend_name() == "sqlite" and not Path(str(parsed_url.database)).exists():
        raise BadInput(str(parsed_url.database), "does not exist", "the first `vetrina ingest` creates it")
    return open_database(url)


def open_database(url: str) -> Engine:
    """Connect to a database, with or without tables. Raises BadInput for a wrong URL."""
    return _create_engine(url, None)


def holds_shop(url: str) -> bool:
    """Whether a store has the tables of a shop. Nothing is created for the look. Raises BadInput for a wrong URL."""
    parsed_url = _parse(url)
    if parsed_url.get_backend_name() == "sqlite" and not Path(str(parsed_url.database)).exists():
        return False
    engine = _create_engine(url, None)
    try:
        return stored_schema(engine) is not None
    finally:
        engine.dispose()


def stored_schema(engine: Engine) -> int | None:
    """Version of the schema, None if the tables do not exist. Raises BadInput for one of a later Vetrina."""
    with read(engine) as connection:
        version = _schema_in(connection)
    if version is not None and version > SCHEMA_VERSION:
        shown_url = engine.url.render_as_string(hide_password=True)
        rule = f"was written by a later Vetrina (schema {version})"
        raise BadInput(shown_url, rule, "upgrade Vetrina on this machine")
    return version


def upgrade_steps(schema: int) -> list[str]:
    """What an upgrade from a schema does, one line for each step."""
    steps: list[Callable[[Connection, Keys], None]] = []
    for version in range(schema, SCHEMA_VERSION):
        if version == _STEPWISE_VERSION:
            steps += _STEPS_FROM_3
        else:
            steps.append(_UPGRADES[version])
    return [str(step.__doc__).splitlines()[0] for step in steps]


def upgrade_store(engine: Engine, keys: Keys) -> None:
    """Upgrade the tables to the schema of this Vetrina. An upgrade that was cut off goes on where it stopped.

    Args:
        engine: The store, from ``open_older_store``.
        keys: The shop's keys: an upgrade replaces plain session ids by pseudonyms.

    Raises:
        BadInput: The store belongs to another shop; nothing was changed.
        Conflict: Another process is changing the schema.
    """
    _refuse_users_of_another_shop(engine, keys)
    with engine.connect() as connection, schema_lock(connection):
        metadata.create_all(connection)  # only what is missing
        connection.commit()
        # Read again before each step: on SQLite, another process may have done it meanwhile.
        version = _schema_in(connection)
        while version is not None and version < SCHEMA_VERSION:
            _UPGRADES[version](connection, keys)
            connection.execute(update(schema_version).values(version=version + 1))
            connection.commit()
            version = _schema_in(connection)
        if connection.dialect.name == "sqlite":
            connection.rollback()
            cursor = connection.connection.cursor()  # the driver's cursor starts no transaction
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was replaced leaves the file now
            cursor.close()


def _schema_in(connection: Connection) -> int | None:
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version)).scalar()


def _create_tables(engine: Engine, keys: Keys) -> None:
    with engine.connect() as connection, schema_lock(connection):
        metadata.create_all(connection)
        _insert_log_locks(connection)
        if _schema_in(connection) is None:  # last: without it, the next process goes on with what is missing
            row = {"version": SCHEMA_VERSION, "keys": keys.fingerprint}
            connection.execute(insert(schema_version).values(**row))
        connection.commit()


def _refuse_older_schema(engine: Engine) -> None:
    version = stored_schema(engine)
    if version != SCHEMA_VERSION:
        shown_url = engine.url.render_as_string(hide_password=True)
        rule = f"is the store of an earlier Vetrina (schema {version})"
        raise BadInput(shown_url, rule, "stop what uses it, then `vetrina upgrade`")


def refuse_other_keys(engine: Engine, keys: Keys) -> None:
    """Raise BadInput if a store of whatever schema belongs to another shop, as far as its rows tell."""
    if stored_schema(engine) == SCHEMA_VERSION:
        _refuse_other_shops(engine, keys)
    else:
        _refuse_users_of_another_shop(engine, keys)


def _refuse_other_shops(engine: Engine, keys: Keys) -> None:
    with read(engine) as connection:
        fingerprint = connection.execute(select(schema_version.c["keys"])).scalar()
    if fingerprint != keys.fingerprint:
        raise _other_shop(engine)


def _refuse_users_of_another_shop(engine: Engine, keys: Keys) -> None:
    """Raise BadInput unless the users were stored with these keys. A store before schema 4 has nothing else to tell it by."""
    with read(engine) as connection:
        user = connection.execute(select(users).limit(1)).first()
    if user is None:
        return
    try:
        is_own = keys.pseudonymise(keys.unseal(user.sealed_id)) == user.pseudonym
    except BadSignature:
        is_own = False
    if not is_own:
        raise _other_shop(engine)


def _other_shop(engine: Engine) -> BadInput:
    shown_url = engine.url.render_as_string(hide_password=True)
    rule = "belongs to another shop: it was made with other keys"
    return BadInput(shown_url, rule, "give this shop a store of its own in [store] url, or restore its keys")


@contextmanager
def read(engine: Engine) -> Generator[Connection]:
    """A connection for a transaction that only reads: it takes no lock that a writer waits for."""
    with engine.connect().execution_options(**_READ_ONLY) as connection:
        yield connection


@contextmanager
def consistent_read(engine: Engine) -> Generator[Connection]:
    """A connection whose reads all see the store at one moment, however long they take; no writer waits for it.

    Args:
        engine: The store, from ``open_older_store``: one statement may take as long as it needs.
    """
    options: dict[str, Any] = dict(_READ_ONLY)
    if engine.dialect.name != "sqlite":  # whose transactions always see one moment
        options["isolation_level"] = "REPEATABLE READ"
    with engine.connect().execution_options(**options) as connection:
        if engine.dialect.name == "postgresql":  # whoever takes the rows may be slow
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(select(schema_version.c.version))  # the first read sets the moment
        yield connection


def database_time(connection: Connection) -> float:
    """Now, by the database's own clock, in seconds since 1970."""
    return float(connection.execute(text(_DATABASE_TIME[connection.dialect.name])).scalar_one())


def lock_log(connection: Connection, log: str) -> None:
    """Lock a log for writing until the transaction ends. SQLite locks the whole store anyway."""
    connection.execute(select(log_locks.c.log).where(log_locks.c.log == log).with_for_update())


def _parse(url: str) -> URL:
    try:
        parsed_url = make_url(url)
        backend = parsed_url.get_backend_name()
        if backend not in _DRIVERS:
            raise NoSuchModuleError(backend)
    except (ArgumentError, NoSuchModuleError):
        way_out = "give sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE"
        raise BadInput("[store] url", "names no database that Vetrina knows", way_out) from None
    return parsed_url


def _create_engine(url: str, statement_seconds: float | None) -> Engine:
    parsed_url = _parse(url)
    backend = parsed_url.get_backend_name()
    if backend == "sqlite":
        return _sqlite_engine(parsed_url, statement_seconds)
    try:
        return _server_engine(parsed_url, backend, statement_seconds)
    except ModuleNotFoundError as error:
        raise BadInput(backend, f"needs the driver {error.name}", 'pip install "vetrina[databases]"') from None


def _server_engine(url: URL, backend: str, statement_seconds: float | None) -> Engine:
    engine = _connect_to_server(url.set(drivername=_DRIVERS[backend]), statement_seconds)
    _refuse_wrong_options(engine)
    if backend != "mysql":
        return engine
    # MySQL and MariaDB have different collations. The URL may be the same; the server reports which one it is.
    with engine.connect():
        is_mariadb = bool(getattr(engine.dialect, "is_mariadb", False))
    if not is_mariadb:
        return engine
    engine.dispose()
    return _connect_to_server(url.set(drivername=_DRIVERS["mariadb"]), statement_seconds)


def _refuse_wrong_options(engine: Engine) -> None:
    """Connect once. Raises BadInput for options of the URL that no second attempt makes right, those of TLS above all."""
    try:
        engine.connect().close()
    except (
        ProgrammingError,
        TypeError,
        AttributeError,
    ) as error:  # PyMySQL raises the latter for what it does not know
        cause = getattr(error, "orig", None) or error
        message = " ".join(str(cause).split())
        raise BadInput("[store] url", f"has an option that the driver refuses ({message})", _URL_OPTIONS) from None
    except FileNotFoundError as error:
        rule = "has an option that names a missing file"
        if error.filename:
            rule = f"names {error.filename}, which does not exist"
        raise BadInput("[store] url", rule, _URL_OPTIONS) from None
    except OperationalError as error:
        message = " ".join(str(error.orig).split())
        if any(word in message.lower() for word in _TLS_WORDS):
            raise BadInput("[store] url", f"is refused by TLS ({message})", _URL_OPTIONS) from None
        raise


def _connect_to_server(url: URL, statement_seconds: float | None) -> Engine:
    is_postgresql = url.get_backend_name() == "postgresql"
    connect_args: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if is_postgresql:
        connect_args["tcp_user_timeout"] = _IDLE_TRANSACTION_SECONDS * 1_000
    elif statement_seconds is not None:
        connect_args["read_timeout"] = statement_seconds + _CLIENT_MARGIN_SECONDS
        connect_args["write_timeout"] = statement_seconds + _CLIENT_MARGIN_SECONDS
    engine = create_engine(
        url,
        connect_args=connect_args,
        isolation_level="READ COMMITTED",  # after waiting for a lock, the changes of its last holder are visible
        pool_pre_ping=True,  # replaces a dropped connection before it is used
        pool_recycle=1_800,  # seconds
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,  # errors reach the log of the service, so they must not contain what users did
    )

    def limit(connection: Any, _record: object) -> None:
        if is_postgresql:
            statement = _postgresql_limits(statement_seconds)
        else:
            statement = _mysql_limits(statement_seconds, is_mariadb="MariaDB" in connection.get_server_info())
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.commit()

    event.listen(engine, "connect", limit)
    return engine


def _postgresql_limits(statement_seconds: float | None) -> str:
    values = {
        "lock_timeout": LOCK_SECONDS * 1_000,
        "statement_timeout": int((statement_seconds or 0) * 1_000),  # 0 for none
        "idle_in_transaction_session_timeout": _IDLE_TRANSACTION_SECONDS * 1_000,
    }
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in values.items())


def _mysql_limits(statement_seconds: float | None, *, is_mariadb: bool) -> str:
    values: dict[str, float] = {"innodb_lock_wait_timeout": LOCK_SECONDS, "lock_wait_timeout": LOCK_SECONDS}
    if is_mariadb:
        values["max_statement_time"] = statement_seconds or 0  # seconds; 0 for none
        values["idle_write_transaction_timeout"] = _IDLE_TRANSACTION_SECONDS
    else:
        values["max_execution_time"] = int((statement_seconds or 0) * 1_000)
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items())


def _sqlite_engine(url: URL, statement_seconds: float | None) -> Engine:
    database = url.database or ":memory:"
    if database != ":memory:" and not database.startswith("file:"):
        create_private(Path(database))
    engine = create_engine(url, hide_parameters=True, pool_timeout=POOL_SECONDS)
    # A step of an upgrade takes longer than anything else.
    lock_seconds = LOCK_SECONDS if statement_seconds else _SCHEMA_LOCK_SECONDS

    def connect(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["deadline"] = math.inf

        def is_too_late() -> bool:
            return time.monotonic() > record.info["deadline"]

        connection.set_progress_handler(is_too_late, _SQLITE_LIMIT_INTERVAL)
        connection.isolation_level = None  # ``begin`` starts transactions
        connection.execute(f"PRAGMA busy_timeout={int(lock_seconds * 1_000)}")
        _switch_to_wal(connection)
        # What is deleted or replaced, such as what a user did, is overwritten in the file.
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        if statement_seconds is not None:
            connection.info["deadline"] = time.monotonic() + statement_seconds
        # A transaction that may write locks the file at its start: an upgrade of the lock in the middle could fail.
        is_read_only = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. The first switch needs exclusive access and does not wait for it by itself."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


@contextmanager
def schema_lock(connection: Connection) -> Generator[None]:
    """Let only one process at a time create, upgrade or restore the tables. Raises Conflict if another one takes too long.

    SQLite locks the whole file with each transaction.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    if connection.dialect.name == "postgresql":
        lock = "SELECT pg_try_advisory_lock(8337)"
        unlock = "SELECT pg_advisory_unlock(8337)"
    else:
        lock = "SELECT GET_LOCK('vetrina', 0)"
        unlock = "SELECT RELEASE_LOCK('vetrina')"
    deadline = time.monotonic() + _SCHEMA_LOCK_SECONDS
    while not connection.execute(text(lock)).scalar():
        if time.monotonic() > deadline:
            shown_url = connection.engine.url.render_as_string(hide_password=True)
            raise Conflict(shown_url, "is being upgraded by another process", "wait until it ends, then repeat")
        time.sleep(_POLL_SECONDS)
    connection.commit()  # the lock belongs to the connection; a transaction would only hold what it has read
    try:
        yield
    finally:
        connection.rollback()  # anything that is not committed by now has failed
        connection.execute(text(unlock))


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


def _bind_to_keys(connection: Connection, keys: Keys) -> None:
    """The store belongs to the shop with these keys."""
    add_column(connection, schema_version.c["keys"])
    connection.execute(update(schema_version).values(keys=keys.fingerprint))


def _date_arrivals(connection: Connection, _: Keys) -> None:
    """Events that have no time of arrival are taken to have arrived when they happened, but not later than now."""
    now = clock.now()
    arrived = case((events.c.time < now, events.c.time), else_=now)
    connection.execute(update(events).where(events.c.arrived.is_(None)).values(arrived=arrived))


def _index_rollouts(connection: Connection, _: Keys) -> None:
    """The answers of a release have an index."""
    add_index(connection, _index(exposures, "exposures_by_rollout"))


def _events_of_users(connection: Connection, _: Keys) -> None:
    """An event id is unique for its user, no longer for the shop; events know who sent them and when they arrived."""
    if connection.dialect.name == "sqlite":
        _rebuild_events(connection)
        return
    for column in (events.c.source, events.c.sender, events.c.arrived, events.c.over_cap):
        add_column(connection, column)
    for index in events.indexes:
        add_index(connection, index)
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
        if index["name"] in {own_index.name for own_index in events.indexes}:
            connection.execute(text(f"DROP INDEX {index['name']}"))
    connection.execute(text("ALTER TABLE events RENAME TO events_3"))
    events.create(connection)
    names = ", ".join(f'"{name}"' for name in kept_columns)
    connection.execute(text(f"INSERT INTO events ({names}) SELECT {names} FROM events_3"))  # noqa: S608 - column names
    connection.execute(text("DROP TABLE events_3"))


def _index(table: Table, name: str) -> Index:
    return next(index for index in table.indexes if index.name == name)


# Steps to schema 4, in order. A step is committed by itself and may run again after a crash, so it changes only
# what is not there yet: see ``add_column`` and ``add_index``. New tables are created before the first step.
_STEPS_FROM_3: tuple[Callable[[Connection, Keys], None], ...] = (
    _bind_to_keys,
    _events_of_users,
    _date_arrivals,
    _index_rollouts,
)
_STEPWISE_VERSION = 3
# Upgrade to the next schema, by schema version.
_UPGRADES: dict[int, Callable[[Connection, Keys], None]] = {
    1: _upgrade_from_1,
    2: name_sessions,
    3: _upgrade_from_3,
}
