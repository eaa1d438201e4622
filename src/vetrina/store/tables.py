"""SQL schema, portable across SQLite, PostgreSQL and MySQL/MariaDB.

``store.database`` opens a store and upgrades older schemas. Times are seconds since 1970, users and sessions are pseudonyms.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT
from sqlalchemy.schema import SchemaItem

SCHEMA_VERSION = 4
metadata = MetaData()
# SQLite increments INTEGER keys only.
_SequenceNumber = BigInteger().with_variant(Integer, "sqlite")
_LongText = Text().with_variant(LONGTEXT, "mysql", "mariadb")
_LongBinary = LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
# Text is compared byte by byte in every database: ids that differ in case or in blanks are different ids.
_BINARY_COLLATION: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}


def _table(name: str, *columns: SchemaItem) -> Table:
    return Table(name, metadata, *columns, **_BINARY_COLLATION)


schema_version = _table(
    "schema_version",
    Column("version", Integer, primary_key=True),
    Column("keys", String(64)),  # fingerprint of the keys of the shop that the store belongs to
)
# A writer of a log locks the log's row first, so that sequence numbers become visible in ascending order.
log_locks = _table("writers", Column("log", String(32), primary_key=True))
users = _table(
    "users",
    Column("pseudonym", String(32), primary_key=True),
    Column("sealed_id", LargeBinary, nullable=False),
)
events = _table(
    "events",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),  # the user's own: two users may have the same
    Column("user", String(32), nullable=False),
    Column("session", String(128)),
    Column("time", Float(53), nullable=False),
    Column("body", _LongText, nullable=False),
    Column("source", String(16)),  # "server" or "anonymous"; NULL for events before schema 4
    Column("sender", String(32)),  # pseudonym of the address for one day; NULL unless anonymous
    Column("arrived", Float(53)),  # when it was written; retention counts from it, since ``time`` is the sender's
    Column("over_cap", Boolean),  # its address or session had sent more than counts in a day
    Index("events_once", "user", "event_id", unique=True),
    Index("events_by_user", "user", "seq"),
    Index("events_by_session", "session", "seq"),
    Index("events_by_time", "time"),
    Index("events_by_arrival", "arrived"),
)
# Weight of the events that an address or session has sent without the token, by day: for the daily cap.
sender_weights = _table(
    "sender_weights",
    Column("sender", String(32), primary_key=True),  # pseudonym of an address or a session
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970
    Column("weight", Float(53), nullable=False),
    Index("sender_weights_by_day", "day"),
)
exposures = _table(
    "exposures",
    Column("request_id", String(32), primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("scenario", String(32), nullable=False),
    Column("version", String(64), nullable=False),
    Column("arm", String(16), nullable=False),
    Column("user", String(32)),
    Column("session", String(128)),
    Column("request", _LongText, nullable=False),  # JSON; off-policy evaluation needs it
    Column("items", _LongText, nullable=False),
    Column("seconds", Float(53)),
    Column("fault", String(16)),  # why the candidate failed, so that the champion answered
    Column("rollout", String(32)),  # the running rollout, if the unit takes part in it
    Column("step", Integer),
    Index("exposures_by_time", "scenario", "time"),
    Index("exposures_by_rollout", "rollout", "step"),
)
product_changes = _table(
    "product_changes",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("product_id", String(256), nullable=False),
    Column("body", _LongText),  # JSON; NULL for a deleted product
)
versions = _table(
    "versions",
    Column("version", String(64), primary_key=True),
    Column("scenario", String(32), nullable=False),
    Column("snapshot", String(64), nullable=False),
    Column("recipe_digest", String(64), nullable=False),
    Column("judged", String(64), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("body", _LongText, nullable=False),
)
verdicts = _table(
    "verdicts",
    Column("id", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("body", _LongText, nullable=False),
)
champions = _table(
    "champions",
    Column("scenario", String(32), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
)
promotions = _table(
    "promotions",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("scenario", String(32), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("decision", String(80), nullable=False, unique=True),
    Column("body", _LongText, nullable=False),
    Column("signature", String(128), nullable=False),
)
stages = _table(
    "stages",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("run", String(32), nullable=False),
    Column("scenario", String(32), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("started", Float(53), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("peak_mb", Float(53), nullable=False),
    Column("cpu_seconds", Float(53)),
)
rollouts = _table(
    "rollouts",
    Column("id", String(32), primary_key=True),
    Column("scenario", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("body", _LongText, nullable=False),
    Index("rollouts_by_state", "state", "scenario"),
)
rollout_log = _table(
    "rollout_log",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("rollout", String(32), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("body", _LongText, nullable=False),
    Column("signature", String(128), nullable=False),
    UniqueConstraint("rollout", "fence", name="rollout_log_once"),
)
# Expected outcomes of units, fixed when a rollout starts.
expectations = _table(
    "expectations",
    Column("rollout", String(32), primary_key=True),
    Column("unit", String(128), primary_key=True),
    Column("clicks", Float(53), nullable=False),
    Column("conversion", Float(53), nullable=False),
    Column("revenue", Float(53), nullable=False),
)
shadow_answers = _table(
    "shadows",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("rollout", String(32), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("fault", String(16)),
    Column("overlap", Float(53), nullable=False),  # share of the champion's items that the candidate also returned
    Index("shadows_by_rollout", "rollout"),
)
# Encrypted addresses, and consent to messages.
contacts = _table(
    "contacts",
    Column("pseudonym", String(32), primary_key=True),
    Column("sealed_email", LargeBinary),
    Column("consent", String(256)),  # NULL if the shop does not record consent
)
# Messages to users, for the frequency cap.
message_log = _table(
    "told",
    Column("seq", _SequenceNumber, primary_key=True, autoincrement=True),
    Column("user", String(32), nullable=False),
    Column("product_id", String(256)),
    Column("channel", String(16), nullable=False),
    Column("time", Float(53), nullable=False),
    Index("told_by_time", "time"),
)
leases = _table(
    "leases",
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires", Float(53), nullable=False),
)
runs = _table(
    "runs",
    Column("id", String(32), primary_key=True),
    Column("scenario", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("asked", Float(53), nullable=False),
    Column("started", Float(53)),
    Column("ended", Float(53)),
    Column("attempts", Integer, nullable=False),
    Column("halvings", Integer, nullable=False),  # how often the chunk size was halved because memory was short
    Column("why", _LongText, nullable=False),
    Column("note", _LongText),
    Index("runs_by_state", "state"),
)
# Results of a run's finished steps, from which an interrupted run resumes.
run_steps = _table(
    "run_steps",
    Column("run", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", String(128), primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("code_version", String(32), nullable=False),
    Column("result", _LongBinary, nullable=False),  # MessagePack
    Column("signature", String(128), nullable=False),
)
alerts = _table(
    "alerts",
    Column("key", String(128), primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("text", _LongText, nullable=False),
)
# Statistics of monitoring, one row per day and scope; newest results of its checks; what answers took, one row a day.
daily_statistics = _table(
    "days",
    Column("part", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", _LongText, nullable=False),
)
