"""Event and exposure log with group commit.

Rows are durable before they are acknowledged, and one commit serves many waiting requests. The log knows nothing of what an
event means.
"""

import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, bindparam, func, insert, or_, select

from vetrina.security.keys import Keys
from vetrina.store.database import lock_log
from vetrina.store.tables import events, exposures, shadow_answers, users

_MAX_BATCH = 2_000  # waiting entries that are committed together
_CHUNK_SIZE = 500  # ids in one query
_NEVER = 1e18  # later than any event, seconds since 1970
_LOG = logging.getLogger("vetrina.store")

# A table, what is inserted into it, and the number of new events once it is committed.
_Entry = tuple[Table, Any, Future[int]]


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        event_id: Unique id; an event with a known id is ignored.
        user: Pseudonym.
        session: Pseudonym of the session, if known.
        time: Seconds since 1970.
        body: All other columns as JSON.
        sealed_id: The user's encrypted id; None if the event came with a pseudonym.
    """

    event_id: str
    user: str
    session: str | None
    time: float
    body: str
    sealed_id: bytes | None


class EventLog:
    """Log with group commit: a writer thread commits all waiting entries together."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys
        self._queue: queue.Queue[_Entry | None] = queue.Queue()
        self._known_users: set[str] = set()
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def add(self, batch: Sequence[Event]) -> "Future[int]":
        """Append events. The future is set to the number of new events once all of them are on disk."""
        future: Future[int] = Future()
        self._queue.put((events, batch, future))
        return future

    def log_exposure(self, row: dict[str, Any]) -> None:
        """Append an answer that was shown, without waiting."""
        self._queue.put((exposures, row, Future()))

    def log_shadow_answer(self, row: dict[str, Any]) -> None:
        """Append an answer that a candidate computed in shadow mode, without waiting."""
        self._queue.put((shadow_answers, row, Future()))

    @property
    def is_alive(self) -> bool:
        """Whether the writer thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write all waiting entries and stop the writer thread."""
        self._queue.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        running = True
        while running:
            entries = [self._queue.get()]
            while len(entries) < _MAX_BATCH and not self._queue.empty():
                entries.append(self._queue.get_nowait())
            running = None not in entries
            self._write([entry for entry in entries if entry is not None])

    def _write(self, entries: list[_Entry]) -> None:
        batches = [batch if table is events else () for table, batch, _ in entries]
        try:
            with self._engine.begin() as connection:
                lock_log(connection, "events")
                for table in (exposures, shadow_answers):
                    rows = [row for entry_table, row, _ in entries if entry_table is table]
                    if rows:
                        connection.execute(insert(table), rows)
                new_counts = self._insert(connection, batches)
        except Exception as error:  # noqa: BLE001 - every waiting request must get the error, whatever it is
            self._fail(entries, error)
            return
        for (_, _, future), new_count in zip(entries, new_counts, strict=True):
            future.set_result(new_count)

    def _fail(self, entries: list[_Entry], error: Exception) -> None:
        n_exposures = sum(table is exposures for table, _, _ in entries)
        if n_exposures:
            _LOG.error("%d exposures could not be written (%s)", n_exposures, error)
        for _, _, future in entries:
            future.set_exception(error)

    def _insert(self, connection: Connection, batches: Sequence[Sequence[Event]]) -> list[int]:
        """Insert all batches at once; returns the number of new events of each. The first of equal ids counts."""
        known_ids = self._stored_ids(connection, batches)
        new_events: list[Event] = []
        new_counts: list[int] = []
        for batch in batches:
            count_before = len(new_events)
            for event in batch:
                if event.event_id not in known_ids:
                    known_ids.add(event.event_id)
                    new_events.append(event)
            new_counts.append(len(new_events) - count_before)
        if new_events:
            self._insert_users(connection, new_events)
            rows = [
                {
                    "event_id": event.event_id,
                    "user": event.user,
                    "session": event.session,
                    "time": event.time,
                    "body": event.body,
                }
                for event in new_events
            ]
            connection.execute(insert(events), rows)
        return new_counts

    def _stored_ids(self, connection: Connection, batches: Sequence[Sequence[Event]]) -> set[str]:
        """Ids of the batches that are already in the log."""
        ids = list(dict.fromkeys(event.event_id for batch in batches for event in batch))
        stored_ids: set[str] = set()
        for chunk in _chunks(ids):
            query = select(events.c.event_id).where(events.c.event_id.in_(chunk))
            stored_ids |= set(connection.execute(query).scalars())
        return stored_ids

    def _insert_users(self, connection: Connection, batch: list[Event]) -> None:
        new_users: dict[str, bytes] = {}
        for event in batch:
            if event.sealed_id and event.user not in self._known_users:
                new_users[event.user] = event.sealed_id
        if not new_users:
            return
        query = select(users.c.pseudonym).where(users.c.pseudonym.in_(list(new_users)))
        stored_users = set(connection.execute(query).scalars())
        rows = [
            {"pseudonym": pseudonym, "sealed_id": sealed_id}
            for pseudonym, sealed_id in new_users.items()
            if pseudonym not in stored_users
        ]
        if rows:
            connection.execute(insert(users), rows)
        self._known_users.update(new_users)


def rows_after(engine: Engine, after_seq: int, limit: int = 100_000) -> tuple[list[dict[str, Any]], int]:
    """The next events of the log, under the column names of ``core.columns``.

    Args:
        engine: The store.
        after_seq: Events with a larger sequence number are returned.
        limit: Highest number of events.

    Returns:
        The events and the sequence number of the last one, ``after_seq`` without events.
    """
    query = select(events).where(events.c.seq > after_seq).order_by(events.c.seq).limit(limit)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return [], after_seq
    log_rows = [
        {
            "timestamp": row.time,
            "user_id": row.user,
            "event_id": row.event_id,
            **msgspec.json.decode(row.body),
        }
        for row in rows
    ]
    return log_rows, rows[-1].seq


def last_seq(engine: Engine) -> int:
    """Sequence number of the newest event, 0 without events."""
    with engine.connect().execution_options(read_only=True) as connection:
        seq = connection.execute(select(func.max(events.c.seq))).scalar()
    return seq or 0


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
) -> list[dict[str, Any]]:
    """The latest events of a user, or of a session without user, that a bundle does not contain.

    A bundle contains the events before ``since`` with sequence numbers up to ``after_seq``.

    Args:
        engine: The store.
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        since: End of the bundle's data in seconds since 1970.
        after_seq: Last sequence number that the bundle contains.
        limit: Highest number of events.
        as_of: Events at or after this time are left out.

    Returns:
        Time and columns of each event, oldest first.
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
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query, parameters).all()
    return [{"time": row.time, **msgspec.json.decode(row.body)} for row in reversed(rows)]


def answers_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Scenario, time and product ids of the logged answers with these request ids, in any scenario."""
    columns = [exposures.c[name] for name in ("request_id", "scenario", "time", "items")]
    answers: dict[str, dict[str, Any]] = {}
    with engine.connect().execution_options(read_only=True) as connection:
        for chunk in _chunks(list(request_ids)):
            query = select(*columns).where(exposures.c.request_id.in_(chunk))
            for row in connection.execute(query).mappings():
                items = msgspec.json.decode(row["items"])
                product_ids = frozenset(item.get("product_id") for item in items)
                answers[row["request_id"]] = {**row, "items": product_ids}
    return answers


def ad_clicks(engine: Engine, after_seq: int, since: float) -> tuple[list[dict[str, Any]], int]:
    """Ad clicks that are attributed to an answer by its request id.

    Args:
        engine: The store.
        after_seq: Events with a larger sequence number are read.
        since: Events before this time are left out, in seconds since 1970.

    Returns:
        Time and columns of each click in the order of the log, and the sequence number of the last event that was read.
    """
    query = select(events.c.seq, events.c.time, events.c.body).where(events.c.seq > after_seq, events.c.time >= since)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query.order_by(events.c.seq)).all()
    if not rows:
        return [], after_seq
    clicks: list[dict[str, Any]] = []
    for row in rows:
        event = {"time": row.time, **msgspec.json.decode(row.body)}
        if event.get("type") == "ad_click" and event.get("request_id"):
            clicks.append(event)
    return clicks, rows[-1].seq


def items_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Items of the logged answers with these request ids."""
    items_by_id: dict[str, list[dict[str, Any]]] = {}
    with engine.connect().execution_options(read_only=True) as connection:
        for chunk in _chunks(list(request_ids)):
            query = select(exposures.c.request_id, exposures.c["items"]).where(exposures.c.request_id.in_(chunk))
            for request_id, items in connection.execute(query):
                items_by_id[request_id] = msgspec.json.decode(items)
    return items_by_id


def predictions_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, list[float]]:
    """Predicted probabilities or numbers, by row, of the logged answers with these request ids."""
    predictions: dict[str, list[float]] = {}
    with engine.connect().execution_options(read_only=True) as connection:
        for chunk in _chunks(list(request_ids)):
            query = select(exposures.c.request_id, exposures.c["items"]).where(
                exposures.c.request_id.in_(chunk), exposures.c.scenario == "predict"
            )
            for request_id, items in connection.execute(query):
                rows = msgspec.json.decode(items)
                predictions[request_id] = [row.get("probability", row.get("prediction")) for row in rows]
    return predictions


def first_exposures(engine: Engine, rollout: str, step: int, since: float, until: float) -> dict[str, float]:
    """Units whose first answer in a step of a rollout lies in (``since``, ``until``].

    Args:
        engine: The store.
        rollout: Id of the rollout.
        step: Step of the rollout.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.

    Returns:
        Time of the first answer by unit.
    """
    unit = func.coalesce(exposures.c.user, exposures.c.session)
    first_time = func.min(exposures.c.time)
    query = (
        select(unit.label("unit"), first_time.label("first"))
        .where(exposures.c.rollout == rollout, exposures.c.step == step, exposures.c.time <= until)
        .group_by(unit)
        .having(first_time > since)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return {row.unit: row.first for row in connection.execute(query)}


def list_answers(
    engine: Engine, scenario: str, since: float, until: float, *, with_items: bool = False, sample_bound: str = ""
) -> list[dict[str, Any]]:
    """Logged answers of a scenario in (``since``, ``until``].

    Args:
        engine: The store.
        scenario: The scenario.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.
        with_items: Whether answers include the request and the items.
        sample_bound: Only answers whose request id, a random hexadecimal number, is smaller; empty for all. See
            ``sample_bound``.
    """
    names = ["request_id", "time", "version", "arm", "user", "session", "seconds", "fault", "rollout", "step"]
    if with_items:
        names += ["request", "items"]
    columns = [exposures.c[name] for name in names]
    query = select(*columns).where(
        exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until
    )
    if sample_bound:
        query = query.where(exposures.c.request_id < sample_bound)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    if with_items:
        for row in rows:
            row["items"] = msgspec.json.decode(row["items"])
    return rows


def sample_bound(share: float) -> str:
    """The request id below which about ``share`` of all answers lie; empty for all of them."""
    if share >= 1:
        return ""
    return f"{int(share * 16**8):08x}"


def count_answers(engine: Engine, scenario: str, since: float, until: float) -> dict[tuple[str, str], int]:
    """Number of logged answers of a scenario in (``since``, ``until``].

    Args:
        engine: The store.
        scenario: The scenario.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.

    Returns:
        Counts by (version, arm).
    """
    query = (
        select(exposures.c.version, exposures.c.arm, func.count())
        .where(exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until)
        .group_by(exposures.c.version, exposures.c.arm)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return {(version, arm): count for version, arm, count in connection.execute(query)}


def first_timestamp(engine: Engine) -> float | None:
    """Time of the oldest answer or event, None if there is neither."""
    with engine.connect().execution_options(read_only=True) as connection:
        first_times = [connection.execute(select(func.min(log.c.time))).scalar() for log in (events, exposures)]
    return min((time for time in first_times if time is not None), default=None)


def list_events(engine: Engine, since: float, until: float) -> list[dict[str, Any]]:
    """Events in (``since``, ``until``] with user, session, time, id and their other columns.

    Args:
        engine: The store.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.
    """
    query = select(events.c.event_id, events.c.user, events.c.session, events.c.time, events.c.body).where(
        events.c.time > since, events.c.time <= until
    )
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    return [
        {
            **msgspec.json.decode(row.body),
            "user": row.user,
            "session": row.session,
            "time": row.time,
            "event_id": row.event_id,
        }
        for row in rows
    ]


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _CHUNK_SIZE):
        yield ids[start : start + _CHUNK_SIZE]
