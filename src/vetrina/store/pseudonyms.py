"""Upgrade of a store with plain session ids: they become pseudonyms, and so do texts with an e-mail address."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Select, bindparam, or_, select, update

from vetrina.core.keys import Keys
from vetrina.store.tables import events, expectations, exposures

_CHUNK_SIZE = 1_000  # rows that are rewritten at once


def name_sessions(connection: Connection, keys: Keys) -> None:
    """Sessions, and texts with an e-mail address, get pseudonyms in events, exposures and expectations."""
    # First: it distinguishes users from sessions by the exposures, which are rewritten afterwards.
    _name_expectations(connection, keys)
    _name_events(connection, keys)
    _name_exposures(connection, keys)


def _name_events(connection: Connection, keys: Keys) -> None:
    rows_to_rewrite = select(events.c.seq, events.c.event_id, events.c.session, events.c.body).where(
        or_(events.c.session.is_not(None), events.c.body.contains("@"), events.c.event_id.contains("@"))
    )
    change = (
        update(events)
        .where(events.c.seq == bindparam("row"))
        .values(event_id=bindparam("named_id"), session=bindparam("named_session"), body=bindparam("named_body"))
    )
    for rows in _chunks(connection, rows_to_rewrite, events.c.seq):
        renamed_rows = [
            {
                "row": row.seq,
                "named_id": keys.without_address(row.event_id),
                "named_session": _named_session(row.session, keys),
                "named_body": _named_text(row.body, keys),
            }
            for row in rows
        ]
        connection.execute(change, renamed_rows)


def _name_exposures(connection: Connection, keys: Keys) -> None:
    rows_to_rewrite = select(exposures.c.request_id, exposures.c.session, exposures.c.request).where(
        or_(exposures.c.session.is_not(None), exposures.c.request.contains("@"))
    )
    change = (
        update(exposures)
        .where(exposures.c.request_id == bindparam("row"))
        .values(session=bindparam("named_session"), request=bindparam("named_request"))
    )
    for rows in _chunks(connection, rows_to_rewrite, exposures.c.request_id):
        renamed_rows = [
            {
                "row": row.request_id,
                "named_session": _named_session(row.session, keys),
                "named_request": _named_text(row.request, keys),
            }
            for row in rows
        ]
        connection.execute(change, renamed_rows)


def _name_expectations(connection: Connection, keys: Keys) -> None:
    """Rename sessions: all units that are no user of an exposure."""
    users = select(exposures.c.user).where(exposures.c.user.is_not(None))
    sessions = select(expectations.c.unit).where(expectations.c.unit.not_in(users)).distinct()
    session_ids = connection.execute(sessions).scalars().all()
    renamed_rows = [{"plain": session_id, "named": keys.name_of_session(session_id)} for session_id in session_ids]
    change = update(expectations).where(expectations.c.unit == bindparam("plain")).values(unit=bindparam("named"))
    if renamed_rows:
        connection.execute(change, renamed_rows)


def _chunks(
    connection: Connection, query: Select[*tuple[Any, ...]], key: Column[Any]
) -> Iterator[list[Row[*tuple[Any, ...]]]]:
    """Rows in the order of ``key``, a chunk at a time, since the log may be larger than memory."""
    ordered = query.order_by(key).limit(_CHUNK_SIZE)
    rows = connection.execute(ordered).all()
    while rows:
        yield list(rows)
        last_key = getattr(rows[-1], key.name)
        rows = connection.execute(ordered.where(key > last_key)).all()


def _named_session(session: str | None, keys: Keys) -> str | None:
    if session is None:
        return None
    return keys.name_of_session(session)


def _named_text(text: str, keys: Keys) -> str:
    columns = keys.pseudonymised(msgspec.json.decode(text))
    return msgspec.json.encode(columns, order="sorted").decode()
