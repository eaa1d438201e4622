"""Upgrade of a shop's store to the schema of this Vetrina."""

from dataclasses import dataclass

from sqlalchemy import Engine

from vetrina.core.errors import BadInput
from vetrina.core.keys import Keys
from vetrina.store.database import open_older_store, stored_schema, upgrade_steps, upgrade_store


@dataclass(frozen=True)
class StoreUpgrade:
    """What an upgrade does or has done.

    Attributes:
        from_schema: Schema of the store before.
        steps: What changes, one line for each step; nothing for a store of this Vetrina.
        backup: File of the backup made before; empty where none was made.
    """

    from_schema: int
    steps: tuple[str, ...]
    backup: str = ""


def plan_upgrade(url: str) -> StoreUpgrade:
    """What ``upgrade_shop`` would do. Raises BadInput where there is no store."""
    engine = open_older_store(url)
    try:
        return _plan(engine)
    finally:
        engine.dispose()


def upgrade_shop(url: str, keys: Keys) -> StoreUpgrade:
    """Upgrade the tables of a store. One that was cut off goes on where it stopped.

    Raises:
        BadInput: There is no store, or the keys are those of another shop.
        Conflict: Another process is upgrading it.
    """
    engine = open_older_store(url)
    try:
        plan = _plan(engine)
        if plan.steps:
            upgrade_store(engine, keys)
        return plan
    finally:
        engine.dispose()


def _plan(engine: Engine) -> StoreUpgrade:
    schema = stored_schema(engine)
    if schema is None:
        shown_url = engine.url.render_as_string(hide_password=True)
        raise BadInput(shown_url, "holds no tables of a shop", "the first `vetrina ingest` creates them")
    return StoreUpgrade(schema, tuple(upgrade_steps(schema)))
