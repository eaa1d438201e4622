"""Event and exposure log with group commit.

Rows are durable before they are acknowledged, and one commit serves many waiting requests. What waits is bounded: a full queue
refuses events and drops answers. The log knows nothing of what an event means.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    bindparam,
    func,
    insert,
    or_,
    select,
    tuple_,
)

from vetrina.core import clock
from vetrina.core.columns import ANONYMOUS_COLUMN, OVER_CAP_COLUMN
from vetrina.core.errors import Overloaded
from vetrina.core.keys import Keys
from vetrina.core.recent_keys import RecentKeys
from vetrina.store import weight_caps
from vetrina.store.database import lock_log, read
from vetrina.store.refused_rows import write_accepted
from vetrina.store.tables import events, exposures, shadow_answers, users

SERVER = "server"  # source of events that are sent with the token
ANONYMOUS = "anonymous"  # source of all others
_MAX_GROUP_EVENTS = 2_000  # that are committed together; a single request may hold as many as it likes
_MAX_WAITING_EVENTS = 20_000  # ten groups
_MAX_WAITING_ANSWERS = 20_000
_RETRY_SECONDS = 1.0  # after which a sender should try again if the queue is full
_CHUNK_SIZE = 500  # ids in one query
_MAX_KNOWN_USERS = 100_000  # whose encrypted ids are known to be stored: about 15 MB
_NEVER = 1e18  # later than any event, seconds since 1970
_LOG = logging.getLogger("vetrina.store")
_Id = TypeVar("_Id")


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        event_id: Id that is unique among the events of its user.
        user: Pseudonym.
        session: Pseudonym of the session, if known.
        time: Seconds since 1970.
        body: All other columns as JSON.
        sealed_id: The user's encrypted id; None if the event came with a pseudonym.
        source: ``SERVER`` or ``ANONYMOUS``.
        sender: Pseudonym of an anonymous sender's address.
    """

    event_id: str
    user: str
    session: str | None
    time: float
    body: str
    sealed_id: bytes | None
    source: str = SERVER
    sender: str | None = None


class Outcome(Enum):
    """What became of an event."""

    NEW = "new"
    KNOWN = "known"  # its user has sent the same event before
    CONFLICT = "conflict"  # its user has sent another event with its id before
    REFUSED = "refused"  # the database cannot hold it


@dataclass(frozen=True)
class AddedEvents:
    """What became of each event of a batch; new and known ones are on disk."""

    outcomes: tuple[Outcome, ...]

    @property
    def n_new(self) -> int:
        """Number of new events."""
        return self.outcomes.count(Outcome.NEW)


@dataclass
class _WaitingBatch:
    """Events that wait to be written, what became of each so far, and the future that reports it.

    ``is_awaited`` is false once whoever sent them has stopped waiting; they are written nevertheless.
    """

    events: Sequence[Event]
    future: Future[AddedEvents]
    outcomes: list[Outcome | None]
    is_awaited: bool = True


# A batch and the position of an event in it.
_WaitingEvent = tuple[_WaitingBatch, int]


def _ignore(_: int) -> None:
    """Counts nothing."""


class EventLog:
    """Log with group commit: a writer thread commits all waiting events together, and answers before them."""

    def __init__(self, engine: Engine, keys: Keys, count_dropped: Callable[[int], None] = _ignore) -> None:
        """Start the writer thread.

        Args:
            engine: The store.
            keys: The shop's keys.
            count_dropped: Is called with the number of answers that could not be logged.
        """
        self._engine = engine
        self._keys = keys
        self._count_dropped = count_dropped
        self._changed = threading.Condition()
        self._batches: deque[_WaitingBatch] = deque()
        self._n_waiting_events = 0
        self._answers: deque[tuple[Table, dict[str, Any]]] = deque()
        self._is_closing = False
        self._known_users = RecentKeys(_MAX_KNOWN_USERS)
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def add(self, batch: Sequence[Event]) -> "Future[AddedEvents]":
        """Append events. The future is set to what became of each, once all that are accepted are on disk.

        Raises:
            Overloaded: Too many events wait already, or the log was closed, or its writer thread has ended.
        """
        future: Future[AddedEvents] = Future()
        waiting = _WaitingBatch(batch, future, [None] * len(batch))
        with self._changed:
            is_full = self._n_waiting_events + len(batch) > _MAX_WAITING_EVENTS
            is_ending = self._is_closing or not self.is_alive()
            if (is_full and self._batches) or is_ending:
                error = Overloaded("events", "cannot be written at the moment", "nothing was stored: send them again")
                error.ready_in_seconds = _RETRY_SECONDS
                raise error
            self._batches.append(waiting)
            self._n_waiting_events += len(batch)
            self._changed.notify()
        return future

    def log_exposure(self, row: dict[str, Any]) -> None:
        """Append an answer that was shown, without waiting. It is dropped and counted if too many wait already."""
        self._log_answer(exposures, row)

    def log_shadow_answer(self, row: dict[str, Any]) -> None:
        """Append an answer that a candidate computed in shadow mode, like ``log_exposure``."""
        self._log_answer(shadow_answers, row)

    def is_alive(self) -> bool:
        """Whether the writer thread runs: without it nothing is ever written."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write all that waits and stop the writer thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _log_answer(self, table: Table, row: dict[str, Any]) -> None:
        with self._changed:
            is_full = len(self._answers) >= _MAX_WAITING_ANSWERS
            if not is_full:
                self._answers.append((table, row))
                self._changed.notify()
        if is_full:
            self._count_dropped(1)

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batches or self._answers or self._is_closing)
                answers = list(self._answers)
                self._answers.clear()
                batches = self._take_group()
                if not answers and not batches:
                    return
            # Answers first: events may name them. In transactions of their own, so that they cannot fail the events.
            for table in (exposures, shadow_answers):
                self._write_answers(table, [row for answer_table, row in answers if answer_table is table])
            self._write_events(batches)

    def _take_group(self) -> list[_WaitingBatch]:
        """The batches that have waited longest and are committed together."""
        group: list[_WaitingBatch] = []
        n_events = 0
        while self._batches and (not group or n_events + len(self._batches[0].events) <= _MAX_GROUP_EVENTS):
            batch = self._batches.popleft()
            n_events += len(batch.events)
            batch.is_awaited = batch.future.set_running_or_notify_cancel()
            group.append(batch)
        self._n_waiting_events -= n_events
        return group

    def _write_answers(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        try:
            n_lost = len(write_accepted(rows, partial(self._insert_answers, table)))
        except Exception as error:  # noqa: BLE001 - whatever it is, answers must not end the thread that writes events
            n_lost = len(rows)
            _LOG.error("%d rows of %s could not be written (%s)", n_lost, table.name, _error_name(error))
        if n_lost:
            self._count_dropped(n_lost)

    def _insert_answers(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(table), rows)

    def _write_events(self, batches: Sequence[_WaitingBatch]) -> None:
        rows: list[_WaitingEvent] = []
        for batch in batches:
            rows += [(batch, index) for index in range(len(batch.events))]
        failure: Exception | None = None
        try:
            for batch, index in write_accepted(rows, self._insert_events):
                batch.outcomes[index] = Outcome.REFUSED
        except Exception as error:  # noqa: BLE001 - every waiting request must get the error, whatever it is
            failure = error
        for batch in batches:
            outcomes = [outcome for outcome in batch.outcomes if outcome is not None]
            if not batch.is_awaited:
                continue
            if failure is not None and len(outcomes) < len(batch.events):
                batch.future.set_exception(failure)
            else:
                batch.future.set_result(AddedEvents(tuple(outcomes)))

    def _insert_events(self, rows: Sequence[_WaitingEvent]) -> None:
        """Commit the new ones among events, and note what became of each."""
        batch_events = [batch.events[index] for batch, index in rows]
        with self._engine.begin() as connection:
            lock_log(connection, "events")
            outcomes = self._insert(connection, batch_events)
        for (batch, index), outcome in zip(rows, outcomes, strict=True):
            batch.outcomes[index] = outcome

    def _insert(self, connection: Connection, batch: Sequence[Event]) -> list[Outcome]:
        """Insert the events that are new. The first of equal ids counts."""
        known_bodies = _stored_bodies(connection, batch)
        new_events: list[Event] = []
        outcomes: list[Outcome] = []
        for event in batch:
            key = (event.user, event.event_id)
            known_body = known_bodies.get(key)
            if known_body is None:
                known_bodies[key] = event.body
                new_events.append(event)
                outcomes.append(Outcome.NEW)
            elif known_body == event.body:
                outcomes.append(Outcome.KNOWN)
            else:
                outcomes.append(Outcome.CONFLICT)
        if new_events:
            self._insert_users(connection, new_events)
            self._insert_new(connection, new_events)
        return outcomes

    def _insert_new(self, connection: Connection, new_events: Sequence[Event]) -> None:
        now = clock.now()
        over_cap = self._exceed_cap(connection, new_events, int(now // clock.DAY))
        rows = [
            {
                "event_id": event.event_id,
                "user": event.user,
                "session": event.session,
                "time": event.time,
                "body": event.body,
                "source": event.source,
                "sender": event.sender,
                "arrived": now,
                "over_cap": is_over_cap,
            }
            for event, is_over_cap in zip(new_events, over_cap, strict=True)
        ]
        connection.execute(insert(events), rows)

    def _exceed_cap(self, connection: Connection, new_events: Sequence[Event], day: int) -> list[bool]:
        """Whether each event is more than its anonymous sender or session may add in a day."""
        over_cap = [False] * len(new_events)
        anonymous = [index for index, event in enumerate(new_events) if event.source == ANONYMOUS]
        if not anonymous:
            return over_cap
        senders = [_senders(new_events[index]) for index in anonymous]
        weights = [weight_caps.event_weight(new_events[index].body) for index in anonymous]
        exceeding = weight_caps.exceed_cap(connection, senders, weights, day)
        for index, exceeds in zip(anonymous, exceeding, strict=True):
            over_cap[index] = exceeds
        return over_cap

    def _insert_users(self, connection: Connection, batch: list[Event]) -> None:
        new_users: dict[str, bytes] = {}
        for event in batch:
            if event.sealed_id and event.user not in self._known_users:
                new_users[event.user] = event.sealed_id
        stored_users: set[str] = set()
        for chunk in _chunks(list(new_users)):
            query = select(users.c.pseudonym).where(users.c.pseudonym.in_(chunk))
            stored_users |= set(connection.execute(query).scalars())
        rows = [
            {"pseudonym": pseudonym, "sealed_id": sealed_id}
            for pseudonym, sealed_id in new_users.items()
            if pseudonym not in stored_users
        ]
        if rows:
            connection.execute(insert(users), rows)
        for pseudonym in stored_users:  # not those of this transaction, which may yet fail
            self._known_users.add(pseudonym)


def _senders(event: Event) -> list[str]:
    """The address and the session that an event counts for."""
    return [name for name in (event.sender, event.session) if name is not None]


def _error_name(error: Exception) -> str:
    """Kind of an error and of the driver's error behind it: their texts may hold what users did."""
    cause = getattr(error, "orig", None)
    if cause is None:
        return type(error).__name__
    return f"{type(error).__name__}, {type(cause).__name__}"


def _stored_bodies(connection: Connection, batch: Sequence[Event]) -> dict[tuple[str, str], str]:
    """Bodies of the events that are already in the log, by user and event id."""
    keys = list(dict.fromkeys((event.user, event.event_id) for event in batch))
    key_columns = tuple_(events.c.user, events.c.event_id)
    bodies: dict[tuple[str, str], str] = {}
    for chunk in _chunks(keys):
        query = select(events.c.user, events.c.event_id, events.c.body).where(key_columns.in_(chunk))
        for row in connection.execute(query):
            bodies[row.user, row.event_id] = row.body
    return bodies


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
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return [], after_seq
    return [_lake_row(row) for row in rows], rows[-1].seq


def _lake_row(row: Row[Any]) -> dict[str, Any]:
    """An event under the column names of ``core.columns``. A damaged body gives a row without a type, for quarantine."""
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
    with read(engine) as connection:
        rows = connection.execute(query, parameters).all()
    return [{"time": row.time, **msgspec.json.decode(row.body)} for row in reversed(rows)]


def answers_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Scenario, version, unit, time and product ids of the logged answers with these request ids, in any scenario."""
    names = ("request_id", "scenario", "version", "user", "session", "time", "items")
    columns = [exposures.c[name] for name in names]
    answers: dict[str, dict[str, Any]] = {}
    with read(engine) as connection:
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
        since: Events that arrived before this time are left out, in seconds since 1970.

    Returns:
        Columns, user, session, sender and time of arrival of each click in the order of the log, and the sequence number of
        the last event that was read.
    """
    names = ("seq", "user", "session", "sender", "arrived", "body")
    columns = [events.c[name] for name in names]
    query = select(*columns).where(events.c.seq > after_seq, events.c.arrived >= since).order_by(events.c.seq)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return [], after_seq
    clicks: list[dict[str, Any]] = []
    for row in rows:
        event = msgspec.json.decode(row.body)
        if event.get("type") == "ad_click" and event.get("request_id"):
            sent = {"user": row.user, "session": row.session, "sender": row.sender, "arrived": row.arrived}
            clicks.append({**event, **sent})
    return clicks, rows[-1].seq


def ad_answers(engine: Engine, scenario: str, request_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """User, session, time and items of the logged answers with these request ids.

    Args:
        engine: The store.
        scenario: Scenario that answers with ads; answers of others are left out.
        request_ids: Ids of the requests.
    """
    columns = [exposures.c[name] for name in ("request_id", "user", "session", "time", "items")]
    answers: dict[str, dict[str, Any]] = {}
    with read(engine) as connection:
        for chunk in _chunks(list(request_ids)):
            query = select(*columns).where(exposures.c.request_id.in_(chunk), exposures.c.scenario == scenario)
            for row in connection.execute(query).mappings():
                answers[row["request_id"]] = {**row, "items": msgspec.json.decode(row["items"])}
    return answers


def predictions_by_request_id(engine: Engine, scenario: str, request_ids: Iterable[str]) -> dict[str, list[float]]:
    """Predicted probabilities or numbers, by row, of the logged answers with these request ids.

    Args:
        engine: The store.
        scenario: Scenario that answers with predictions.
        request_ids: Ids of the requests.
    """
    predictions: dict[str, list[float]] = {}
    with read(engine) as connection:
        for chunk in _chunks(list(request_ids)):
            query = select(exposures.c.request_id, exposures.c["items"]).where(
                exposures.c.request_id.in_(chunk), exposures.c.scenario == scenario
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
    with read(engine) as connection:
        return {row.unit: row.first for row in connection.execute(query)}


def list_answers(
    engine: Engine,
    scenario: str,
    since: float,
    until: float,
    *,
    with_items: bool = False,
    sample_bound: str = "",
    rollout: str = "",
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
        rollout: Only answers that take part in this rollout; empty for all.
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
    if rollout:
        query = query.where(exposures.c.rollout == rollout)
    with read(engine) as connection:
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
    with read(engine) as connection:
        return {(version, arm): count for version, arm, count in connection.execute(query)}


def count_events(engine: Engine, since: float, until: float) -> int:
    """Number of events in (``since``, ``until``], seconds since 1970."""
    query = select(func.count()).select_from(events).where(events.c.time > since, events.c.time <= until)
    with read(engine) as connection:
        return connection.execute(query).scalar_one()


def first_timestamp(engine: Engine) -> float | None:
    """Time of the oldest answer or event, None if there is neither."""
    with read(engine) as connection:
        first_times = [connection.execute(select(func.min(log.c.time))).scalar() for log in (events, exposures)]
    return min((time for time in first_times if time is not None), default=None)


def list_events(engine: Engine, since: float, until: float) -> list[dict[str, Any]]:
    """Events in (``since``, ``until``] with user, session, time, id and their other columns.

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


def _chunks(ids: list[_Id]) -> Iterator[list[_Id]]:
    for start in range(0, len(ids), _CHUNK_SIZE):
        yield ids[start : start + _CHUNK_SIZE]
