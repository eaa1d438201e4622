"""Upgrade of a shop's store to the schema of this Vetrina, after a copy of the database."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.keys import Keys
from vetrina.store.database import open_older_store, stored_schema, upgrade_steps, upgrade_store


@dataclass(frozen=True)
class StoreUpgrade:
    """What an upgrade does or has done.

    Attributes:
        from_schema: Schema of the store before.
        steps: What changes, one line for each step; nothing for a store of this Vetrina.
        copy: The copy of the database; None where none was made.
    """

    from_schema: int
    steps: tuple[str, ...]
    copy: Path | None = None


def plan_upgrade(url: str) -> StoreUpgrade:
    """What ``upgrade_shop`` would do. Raises BadInput where there is no store."""
    engine = open_older_store(url)
    try:
        return _plan(engine)
    finally:
        engine.dispose()


def upgrade_shop(url: str, keys: Keys, *, is_copied: bool) -> StoreUpgrade:
    """Copy the database and upgrade its tables. One that was cut off goes on where it stopped.

    Args:
        url: SQLAlchemy URL of the store.
        keys: The shop's keys.
        is_copied: Whether the operator has a copy; otherwise one is made, which only works for SQLite.

    Raises:
        BadInput: There is no store, it cannot be copied, or the keys are those of another shop.
        Conflict: Another process is upgrading it.
    """
    engine = open_older_store(url)
    try:
        plan = _plan(engine)
        if not plan.steps:
            return plan
        copy = None
        if not is_copied:
            copy = _copy(engine, plan.from_schema)
        upgrade_store(engine, keys)
        return StoreUpgrade(plan.from_schema, plan.steps, copy)
    finally:
        engine.dispose()


def _plan(engine: Engine) -> StoreUpgrade:
    schema = stored_schema(engine)
    if schema is None:
        raise BadInput(_shown(engine), "holds no tables of a shop", "the first `vetrina ingest` creates them")
    return StoreUpgrade(schema, tuple(upgrade_steps(schema)))


def _copy(engine: Engine, schema: int) -> Path:
    """Copy a SQLite database to a file beside it. Raises BadInput for every other database."""
    if engine.dialect.name != "sqlite":
        rule = "lies on a server, whose databases Vetrina does not copy"
        way_out = "dump it (pg_dump or mariadb-dump), then `vetrina upgrade --copied`"
        raise BadInput(_shown(engine), rule, way_out)
    file = Path(str(engine.url.database))
    moment = datetime.fromtimestamp(clock.now(), UTC)
    target = file.with_name(f"{file.name}.schema-{schema}.{moment:%Y%m%dT%H%M%SZ}")
    try:
        with atomic_write(target) as temporary:
            _back_up(file, temporary)
    except sqlite3.Error as error:
        way_out = "free space there, or copy it yourself, then `vetrina upgrade --copied`"
        raise BadInput(str(target), f"cannot be written ({error})", way_out) from None
    return target


def _back_up(file: Path, into: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(into)) as copy:
        source.backup(copy)


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
