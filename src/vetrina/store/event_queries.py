"""Queries of the event log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, Select, bindparam, func, or_, select

from vetrina.core.columns import ANONYMOUS_COLUMN, OVER_CAP_COLUMN
from vetrina.core.logged_events import LoggedEvent
from vetrina.store.database import read
from vetrina.store.event_log import ANONYMOUS
from vetrina.store.tables import events

_NEVER = 1e18  # later than any event, seconds since 1970
_AD_CLICK = "ad_click"  # type of an event
_Row = Row[*tuple[Any, ...]]


class _Body(msgspec.Struct):
    """Columns of an event that are read from its body; others are ignored."""

    type: str = ""
    product_id: str | None = None
    request_id: str | None = None
    query: str | None = None
    position: float | None = None
    quantity: float | None = None
    price: float | None = None
    value: float | None = None


class _RecentBody(msgspec.Struct):
    """Columns of an event that live recommendations need."""

    type: str = ""
    product_id: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_RECENT_BODY = msgspec.json.Decoder(_RecentBody)


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """An event of a user or session that a bundle does not contain yet."""

    time: float
    type: str
    product_id: str | None


@dataclass(frozen=True, slots=True)
class AdClick:
    """An ad click that names the answer it follows.

    Attributes:
        request_id: The answer.
        product_id: Product of the ad.
        user: Pseudonym of who clicked.
        session: Pseudonym of the session, if known.
        sender: Pseudonym of an anonymous sender's address.
        arrived: When it was written, seconds since 1970.
    """

    request_id: str
    product_id: str | None
    user: str
    session: str | None
    sender: str | None
    arrived: float


def lake_rows_after(engine: Engine, after_seq: int, limit: int = 100_000) -> tuple[list[dict[str, Any]], int]:
    """The next events of the log as rows of the lake, under the column names of ``core.columns``.

    Args:
        engine: The store.
        after_seq: Events with a larger sequence number are returned.
        limit: Highest number of events.

    Returns:
        The events and the sequence number of the last one, ``after_seq`` without events.
    """
    query = select(events).where(events.c.seq > after_seq).order_by(events.c.seq).limit(limit)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return [], after_seq
    return [_lake_row(row) for row in rows], rows[-1].seq


def _lake_row(row: _Row) -> dict[str, Any]:
    """An event as a row of the lake. A damaged body gives a row without a type, for quarantine."""
    try:
        columns = msgspec.json.decode(row.body, type=dict[str, Any])
    except msgspec.DecodeError:
        columns = {}
    lake_row = {"timestamp": row.time, "user_id": row.user, "event_id": row.event_id, "type": None, **columns}
    if row.source == ANONYMOUS:
        lake_row[ANONYMOUS_COLUMN] = True
    if row.over_cap:
        lake_row[OVER_CAP_COLUMN] = True
    return lake_row


def last_seq(engine: Engine) -> int:
    """Sequence number of the newest event, 0 without events."""
    with read(engine) as connection:
        seq = connection.execute(select(func.max(events.c.seq))).scalar()
    return seq or 0


def first_event_time(engine: Engine) -> float | None:
    """Time of the oldest event, None without events."""
    with read(engine) as connection:
        return connection.execute(select(func.min(events.c.time))).scalar()


def last_arrival(engine: Engine) -> float | None:
    """When the newest event was written, in seconds since 1970; None without events."""
    with read(engine) as connection:
        return connection.execute(select(func.max(events.c.arrived))).scalar()


def count_events(engine: Engine, since: float, until: float) -> int:
    """Number of events in (``since``, ``until``], seconds since 1970."""
    query = select(func.count()).select_from(events).where(events.c.time > since, events.c.time <= until)
    with read(engine) as connection:
        return connection.execute(query).scalar_one()


def list_events(engine: Engine, since: float, until: float) -> list[LoggedEvent]:
    """Events in (``since``, ``until``].

    Events over the daily cap of their sender are left out: they are no evidence.

    Args:
        engine: The store.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.
    """
    query = select(events.c.event_id, events.c.user, events.c.session, events.c.time, events.c.body).where(
        events.c.time > since, events.c.time <= until, events.c.over_cap.is_not(True)
    )
    with read(engine) as connection:
        rows = connection.execute(query).all()
    return [_logged_event(row) for row in rows]


def _logged_event(row: _Row) -> LoggedEvent:
    body = _BODY.decode(row.body)
    return LoggedEvent(
        event_id=row.event_id,
        user=row.user,
        session=row.session,
        time=row.time,
        type=body.type,
        product_id=body.product_id,
        request_id=body.request_id,
        query=body.query,
        position=body.position,
        quantity=body.quantity,
        price=body.price,
        value=body.value,
    )


def _recent_events_of(is_own: ColumnElement[bool]) -> Select[Any, Any]:
    """The newest events of a user or session; built once, as building it would cost more than running it."""
    is_new = or_(events.c.seq > bindparam("after_seq"), events.c.time >= bindparam("since"))
    query = select(events.c.time, events.c.body).where(is_own, is_new, events.c.time < bindparam("as_of"))
    return query.order_by(events.c.seq.desc()).limit(bindparam("limit"))


_RECENT_EVENTS_OF_USER = _recent_events_of(events.c.user == bindparam("unit"))
_RECENT_EVENTS_OF_SESSION = _recent_events_of(events.c.session == bindparam("unit"))


def recent_events(
    engine: Engine,
    user: str | None,
    session: str | None,
    since: float,
    after_seq: int,
    limit: int = 200,
    as_of: float | None = None,
) -> list[RecentEvent]:
    """The latest events of a user, or of a session without user, that a bundle does not contain; oldest first.

    A bundle contains the events before ``since`` with sequence numbers up to ``after_seq``.

    Args:
        engine: The store.
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        since: End of the bundle's data in seconds since 1970.
        after_seq: Last sequence number that the bundle contains.
        limit: Highest number of events.
        as_of: Events at or after this time are left out.
    """
    if user is None and session is None:
        return []
    query = _RECENT_EVENTS_OF_SESSION if user is None else _RECENT_EVENTS_OF_USER
    parameters = {
        "unit": session if user is None else user,
        "after_seq": after_seq,
        "since": since,
        "as_of": _NEVER if as_of is None else as_of,
        "limit": limit,
    }
    with read(engine) as connection:
        rows = connection.execute(query, parameters).all()
    recent: list[RecentEvent] = []
    for row in reversed(rows):
        body = _RECENT_BODY.decode(row.body)
        recent.append(RecentEvent(row.time, body.type, body.product_id))
    return recent


def ad_clicks(engine: Engine, after_seq: int, since: float) -> tuple[list[AdClick], int]:
    """Ad clicks that are attributed to an answer by its request id.

    Args:
        engine: The store.
        after_seq: Events with a larger sequence number are read.
        since: Events that arrived before this time are left out, in seconds since 1970.

    Returns:
        The clicks in the order of the log, and the sequence number of the last event that was read.
    """
    names = ("seq", "user", "session", "sender", "arrived", "body")
    columns = [events.c[name] for name in names]
    query = select(*columns).where(events.c.seq > after_seq, events.c.arrived >= since).order_by(events.c.seq)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return [], after_seq
    return _ad_clicks_among(rows), rows[-1].seq


def _ad_clicks_among(rows: Sequence[_Row]) -> list[AdClick]:
    clicks: list[AdClick] = []
    for row in rows:
        body = _BODY.decode(row.body)
        if body.type == _AD_CLICK and body.request_id:
            clicks.append(AdClick(body.request_id, body.product_id, row.user, row.session, row.sender, row.arrived))
    return clicks
