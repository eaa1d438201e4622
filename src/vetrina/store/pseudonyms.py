"""Upgrade of a store that kept session ids as given: they become pseudonyms, and so do texts with an e-mail address."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Select, bindparam, or_, select, update

from vetrina.security.keys import Keys
from vetrina.store.tables import events, expectations, exposures

_ROWS = 1_000


def name_sessions(connection: Connection, keys: Keys) -> None:
    """Rewrite events, exposures and expectations in the transaction of ``connection``."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # else what is replaced stays in the file
    _name_expectations(connection, keys)  # first: what it tells users and sessions apart by is rewritten after it
    _name_events(connection, keys)
    _name_exposures(connection, keys)


def _name_events(connection: Connection, keys: Keys) -> None:
    plain = select(events.c.seq, events.c.event_id, events.c.session, events.c.body).where(
        or_(events.c.session.is_not(None), events.c.body.contains("@"), events.c.event_id.contains("@"))
    )
    change = (
        update(events)
        .where(events.c.seq == bindparam("row"))
        .values(event_id=bindparam("named_id"), session=bindparam("named_session"), body=bindparam("named_body"))
    )
    for rows in _in_parts(connection, plain, events.c.seq):
        named = [
            {
                "row": row.seq,
                "named_id": keys.without_address(row.event_id),
                "named_session": _named_session(row.session, keys),
                "named_body": _named_text(row.body, keys),
            }
            for row in rows
        ]
        connection.execute(change, named)


def _name_exposures(connection: Connection, keys: Keys) -> None:
    plain = select(exposures.c.request_id, exposures.c.session, exposures.c.request).where(
        or_(exposures.c.session.is_not(None), exposures.c.request.contains("@"))
    )
    change = (
        update(exposures)
        .where(exposures.c.request_id == bindparam("row"))
        .values(session=bindparam("named_session"), request=bindparam("named_request"))
    )
    for rows in _in_parts(connection, plain, exposures.c.request_id):
        named = [
            {
                "row": row.request_id,
                "named_session": _named_session(row.session, keys),
                "named_request": _named_text(row.request, keys),
            }
            for row in rows
        ]
        connection.execute(change, named)


def _name_expectations(connection: Connection, keys: Keys) -> None:
    """Whatever unit is no user of an exposure is a session."""
    users = select(exposures.c.user).where(exposures.c.user.is_not(None))
    sessions = select(expectations.c.unit).where(expectations.c.unit.not_in(users)).distinct()
    named = [
        {"plain": unit, "named": keys.name_of_session(unit)} for unit in connection.execute(sessions).scalars().all()
    ]
    change = update(expectations).where(expectations.c.unit == bindparam("plain")).values(unit=bindparam("named"))
    if named:
        connection.execute(change, named)


def _in_parts(connection: Connection, query: Select[*tuple[Any, ...]], key: Column[Any]) -> Iterator[list[Row]]:
    """Rows in the order of ``key``, so many at once that the log may be larger than memory."""
    ordered = query.order_by(key).limit(_ROWS)
    rows = connection.execute(ordered).all()
    while rows:
        yield list(rows)
        last = rows[-1]._mapping[key]
        rows = connection.execute(ordered.where(key > last)).all()


def _named_session(session: str | None, keys: Keys) -> str | None:
    return None if session is None else keys.name_of_session(session)


def _named_text(text: str, keys: Keys) -> str:
    return msgspec.json.encode(keys.pseudonymised(msgspec.json.decode(text)), order="sorted").decode()
