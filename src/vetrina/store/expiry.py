"""Deletion of rows whose time is over, a small transaction at a time, so that nobody who writes waits for it."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Engine, Select, Table, delete, func, select

from vetrina.store.database import read
from vetrina.store.tables import (
    alerts,
    events,
    expectations,
    exposures,
    message_log,
    rollouts,
    sender_weights,
    shadow_answers,
)

BATCH_ROWS = 1_000  # of a transaction


def delete_events(engine: Engine, arrived_before: float, up_to_seq: int) -> int:
    """Delete the oldest events.

    The newest one stays in any case: SQLite would give its sequence number again, below what the lake has read.

    Args:
        engine: The store.
        arrived_before: Events that arrived later stay, seconds since 1970.
        up_to_seq: Events with a larger sequence number stay.

    Returns:
        The number of deleted events.
    """
    all_events = events.alias()
    newest_seq = select(func.max(all_events.c.seq)).scalar_subquery()
    is_expired = (events.c.arrived < arrived_before, events.c.seq <= up_to_seq, events.c.seq < newest_seq)
    # In order of arrival, not of the log: some that say they arrived in the future must not keep all behind them.
    expired = select(events.c.seq).where(*is_expired).order_by(events.c.arrived)
    return _delete(engine, events, events.c.seq, expired)


def delete_answers(engine: Engine, scenario: str, before: float) -> int:
    """Delete logged answers of a scenario, with their requests, that are older than ``before``; returns how many."""
    query = select(exposures.c.request_id).where(exposures.c.scenario == scenario, exposures.c.time < before)
    return _delete(engine, exposures, exposures.c.request_id, query)


def delete_messages(engine: Engine, before: float) -> int:
    """Delete records of messages and alerts that are older than ``before``; returns how many."""
    sent = select(message_log.c.seq).where(message_log.c.time < before)
    raised = select(alerts.c["key"]).where(alerts.c.time < before)
    n_messages = _delete(engine, message_log, message_log.c.seq, sent)
    return n_messages + _delete(engine, alerts, alerts.c["key"], raised)


def delete_sender_totals(engine: Engine, before_day: int) -> int:
    """Delete totals of anonymous senders of days before ``before_day``, since 1970, oldest first; returns how many."""
    with read(engine) as connection:
        day = connection.execute(select(func.min(sender_weights.c.day))).scalar()
    if day is None or day >= before_day:
        return 0
    is_of_day = sender_weights.c.day == day
    of_senders = select(sender_weights.c.sender).where(is_of_day)
    return _delete(engine, sender_weights, sender_weights.c.sender, of_senders, is_of_day)


def delete_of_ended_rollouts(engine: Engine) -> int:
    """Delete expected outcomes and shadow answers of rollouts that have ended; their decisions stay. Returns how many."""
    ended = select(rollouts.c.id).where(rollouts.c.state != "running")
    of_shadows = select(shadow_answers.c.seq).where(shadow_answers.c.rollout.in_(ended))
    n_shadows = _delete(engine, shadow_answers, shadow_answers.c.seq, of_shadows)
    with_units = select(expectations.c.rollout).where(expectations.c.rollout.in_(ended)).limit(1)
    with read(engine) as connection:
        rollout_id = connection.execute(with_units).scalar()
    if rollout_id is None:
        return n_shadows
    is_of_rollout = expectations.c.rollout == rollout_id
    of_units = select(expectations.c.unit).where(is_of_rollout)
    return n_shadows + _delete(engine, expectations, expectations.c.unit, of_units, is_of_rollout)


def _delete(
    engine: Engine,
    table: Table,
    key: Column[Any],
    expired: Select[*tuple[Any, ...]],
    within: ColumnElement[bool] | None = None,
) -> int:
    """Delete a batch of rows.

    Args:
        engine: The store.
        table: Table of the rows.
        key: Column that names a row, within ``within`` if it is given.
        expired: Selects the keys.
        within: Condition of all rows.

    Returns:
        The number of deleted rows.
    """
    with engine.begin() as connection:
        keys = connection.execute(expired.limit(BATCH_ROWS)).scalars().all()
        if keys:
            statement = delete(table).where(key.in_(keys))
            if within is not None:
                statement = statement.where(within)
            connection.execute(statement)
    return len(keys)
