"""The tables and the way to open them. Portable types only, so that other databases can follow."""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)

from vetrina.core.errors import BadInput

SCHEMA_VERSION = 1
metadata = MetaData()
# SQLite counts up only for INTEGER keys.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))
users = Table(
    "users",
    metadata,
    Column("pseudonym", String(32), primary_key=True),
    Column("sealed_id", LargeBinary, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("user", String(32), nullable=False),
    Column("session", String(128)),
    Column("time", Float(53), nullable=False),
    Column("body", Text, nullable=False),
    Index("events_by_user", "user", "seq"),
    Index("events_by_session", "session", "seq"),
)
exposures = Table(
    "exposures",
    metadata,
    Column("request_id", String(32), primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("scenario", String(32), nullable=False),
    Column("version", String(64), nullable=False),
    Column("arm", String(16), nullable=False),
    Column("user", String(32)),
    Column("session", String(128)),
    Column("request", Text, nullable=False),  # what was asked, as JSON: an off-policy estimate needs the context
    Column("items", Text, nullable=False),
    Index("exposures_by_time", "scenario", "time"),
)
product_changes = Table(
    "product_changes",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("product_id", String(256), nullable=False),
    Column("body", Text),  # NULL: deleted
)
versions = Table(
    "versions",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("scenario", String(32), nullable=False),
    Column("snapshot", String(64), nullable=False),
    Column("recipe_digest", String(64), nullable=False),
    Column("judged", String(64), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("body", Text, nullable=False),
)
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("body", Text, nullable=False),
)
champions = Table(
    "champions",
    metadata,
    Column("scenario", String(32), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
)
promotions = Table(
    "promotions",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("scenario", String(32), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("decision", String(80), nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Column("signature", String(128), nullable=False),
)
stages = Table(
    "stages",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("run", String(32), nullable=False),
    Column("scenario", String(32), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("started", Float(53), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("peak_mb", Float(53), nullable=False),
)


def open_store(url: str) -> Engine:
    """Connect and make the tables if they are missing. Raises BadInput for a store of a later version."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    with engine.begin() as connection:
        metadata.create_all(connection)
        _check_version(connection, url)
    return engine


def _sqlite_connect(connection, _record) -> None:
    connection.isolation_level = None  # transactions begin where _sqlite_begin says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that may write takes the lock at its start: none has to be upgraded and refused halfway.
    mode = "" if connection.get_execution_options().get("read_only") else " IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN{mode}")


def _check_version(connection: Connection, url: str) -> None:
    found = connection.execute(select(schema.c.version)).scalar()
    if found is None:
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))
    elif found > SCHEMA_VERSION:
        raise BadInput(url, f"was written by a later Vetrina (schema {found})", "upgrade Vetrina on this machine")
