"""Writer of the event and exposure log, with group commit.

Rows are durable before they are acknowledged, and one commit serves many waiting requests. What waits is bounded: a full queue
refuses events and drops answers. The log knows nothing of what an event means. ``store.event_queries`` and
``store.exposure_queries`` read it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table, insert, select, tuple_
from sqlalchemy.exc import InterfaceError, OperationalError

from vetrina.core import clock
from vetrina.core.errors import Overloaded
from vetrina.core.exposures import Exposure, ShadowAnswer
from vetrina.core.keys import Keys
from vetrina.core.recent_keys import RecentKeys
from vetrina.store import weight_caps
from vetrina.store.chunks import chunks
from vetrina.store.database import lock_log
from vetrina.store.refused_rows import write_accepted
from vetrina.store.tables import events, exposures, shadow_answers, users

SERVER = "server"  # source of events that are sent with the token
ANONYMOUS = "anonymous"  # source of all others
_MAX_GROUP_EVENTS = 2_000  # that are committed together; a single request may hold as many as it likes
MAX_WAITING_EVENTS = 20_000  # ten groups
MAX_WAITING_ANSWERS = 20_000
# How long a group waits for a database server that restarts or fails over. Who sent it waits a second longer at most.
_PATIENCE_SECONDS = 4.0
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0  # after which a sender should try again if the queue is full
_MAX_KNOWN_USERS = 100_000  # whose encrypted ids are known to be stored: about 15 MB
_LOG = logging.getLogger("vetrina.store")


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
        self._is_store_away = False  # as far as the writer thread knows
        self._wait_until = 0.0  # by the monotonic clock: how long the current group waits for the store
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
            is_full = self._n_waiting_events + len(batch) > MAX_WAITING_EVENTS
            is_ending = self._is_closing or not self.is_alive()
            if (is_full and self._batches) or is_ending:
                error = Overloaded("events", "cannot be written at the moment", "nothing was stored: send them again")
                error.ready_in_seconds = _RETRY_SECONDS
                raise error
            self._batches.append(waiting)
            self._n_waiting_events += len(batch)
            self._changed.notify()
        return future

    def log_exposure(self, exposure: Exposure) -> None:
        """Append an answer that was shown, without waiting. It is dropped and counted if too many wait already."""
        self._log_answer(exposures, _exposure_row(exposure))

    def log_shadow_answer(self, answer: ShadowAnswer) -> None:
        """Append an answer that a candidate computed in shadow mode, like ``log_exposure``."""
        self._log_answer(shadow_answers, asdict(answer))

    @property
    def n_waiting_events(self) -> int:
        """Events that wait to be written."""
        return self._n_waiting_events

    @property
    def n_waiting_answers(self) -> int:
        """Answers that wait to be written."""
        return len(self._answers)

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
            is_full = len(self._answers) >= MAX_WAITING_ANSWERS
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
            self._wait_until = time.monotonic() + _PATIENCE_SECONDS
            if self._is_store_away:
                self._wait_for_store()
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
            self._is_store_away = True
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
            for batch, index in write_accepted(rows, self._insert_patiently):
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

    def _insert_patiently(self, rows: Sequence[_WaitingEvent]) -> None:
        """Insert events; again for a while where a database server cannot be reached, since most come back in seconds.

        Nothing is doubled where a connection ended during the commit: events that are there already are known by their ids.
        """
        while True:
            try:
                self._insert_events(rows)
            except (OperationalError, InterfaceError):
                self._is_store_away = True
                if self._is_patience_over():
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                self._is_store_away = False
                return

    def _wait_for_store(self) -> None:
        """Wait a while for a database server that could not be reached, before answers are written, which have no ids."""
        while not self._is_patience_over():
            try:
                self._engine.connect().close()
            except (OperationalError, InterfaceError):
                time.sleep(_POLL_SECONDS)
            else:
                self._is_store_away = False
                return

    def _is_patience_over(self) -> bool:
        # SQLite is never away: its disk is full, or it is locked.
        return self._is_closing or time.monotonic() >= self._wait_until or self._engine.dialect.name == "sqlite"

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
        for chunk in chunks(list(new_users)):
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


def _exposure_row(exposure: Exposure) -> dict[str, Any]:
    return {
        "request_id": exposure.request_id,
        "time": exposure.time,
        "scenario": exposure.scenario,
        "version": exposure.version,
        "arm": exposure.arm,
        "user": exposure.user,
        "session": exposure.session,
        "request": exposure.request_json,
        "items": msgspec.json.encode(exposure.items).decode(),
        "seconds": exposure.seconds,
        "fault": exposure.fault,
        "rollout": exposure.rollout,
        "step": exposure.step,
    }


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
    for chunk in chunks(keys):
        query = select(events.c.user, events.c.event_id, events.c.body).where(key_columns.in_(chunk))
        for row in connection.execute(query):
            bodies[row.user, row.event_id] = row.body
    return bodies
