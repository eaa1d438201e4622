"""Events and exposures: durable before they are acknowledged, one commit for many waiting requests."""

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine, func, insert, or_, select

from vetrina.security.keys import Keys
from vetrina.store.database import append_alone
from vetrina.store.tables import events, exposures, users

_BATCH = 2_000
_LOG = logging.getLogger("vetrina.store")


@dataclass(frozen=True)
class Event:
    """One event as it is kept: ``user`` is a pseudonym, ``body`` the other columns as JSON."""

    event_id: str
    user: str
    session: str | None
    time: float
    body: str
    sealed_id: bytes | None


class EventLog:
    """Group commit: one writer thread takes whatever waits and commits it together."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine, self._keys = engine, keys
        self._waiting: queue.Queue[tuple[str, Any, Future[int]] | None] = queue.Queue()
        self._known_users: set[str] = set()
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def add(self, batch: Sequence[Event]) -> "Future[int]":
        """Resolves to the number of new events once all are on disk; repeated ids count once."""
        future: Future[int] = Future()
        self._waiting.put(("events", batch, future))
        return future

    def expose(self, row: dict[str, Any]) -> None:
        """Log what was shown; does not wait."""
        self._waiting.put(("exposure", row, Future()))

    def close(self) -> None:
        """Write what waits, then stop."""
        self._waiting.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        running = True
        while running:
            taken = [self._waiting.get()]
            while len(taken) < _BATCH and not self._waiting.empty():
                taken.append(self._waiting.get_nowait())
            running = None not in taken
            self._write([t for t in taken if t is not None])

    def _write(self, work: list[tuple[str, Any, "Future[int]"]]) -> None:
        try:
            with self._engine.begin() as connection:
                append_alone(connection, "events")
                shown = [row for kind, row, _ in work if kind == "exposure"]
                if shown:
                    connection.execute(insert(exposures), shown)
                added = [self._insert(connection, batch) if kind == "events" else 0 for kind, batch, _ in work]
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
            lost = sum(kind == "exposure" for kind, _, _ in work)
            if lost:
                _LOG.error("%d exposures could not be written (%s)", lost, error)
            for _, _, future in work:
                future.set_exception(error)
            return
        for (_, _, future), count in zip(work, added, strict=True):
            future.set_result(count)

    def _insert(self, connection, batch: Sequence[Event]) -> int:
        ids = [e.event_id for e in batch]
        known = set(connection.execute(select(events.c.event_id).where(events.c.event_id.in_(ids))).scalars())
        first: dict[str, Event] = {}
        for event in batch:
            if event.event_id not in known:
                first.setdefault(event.event_id, event)
        fresh = list(first.values())
        if fresh:
            self._insert_users(connection, fresh)
            columns = ("event_id", "user", "session", "time", "body")
            connection.execute(insert(events), [{c: getattr(e, c) for c in columns} for e in fresh])
        return len(fresh)

    def _insert_users(self, connection, batch: list[Event]) -> None:
        new = {e.user: e.sealed_id for e in batch if e.sealed_id and e.user not in self._known_users}
        if not new:
            return
        there = set(connection.execute(select(users.c.pseudonym).where(users.c.pseudonym.in_(list(new)))).scalars())
        rows = [{"pseudonym": name, "sealed_id": sealed} for name, sealed in new.items() if name not in there]
        if rows:
            connection.execute(insert(users), rows)
        self._known_users.update(new)


def after(engine: Engine, seq: int, most: int = 100_000) -> tuple[list[dict[str, Any]], int]:
    """The next events of the log, under the design's column names, and the number of the last of them."""
    query = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(most)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    found = [
        {"timestamp": r.time, "user_id": r.user, "event_id": r.event_id, **msgspec.json.decode(r.body)} for r in rows
    ]
    return found, rows[-1].seq if rows else seq


def last(engine: Engine) -> int:
    """The number of the newest event, 0 when there is none."""
    with engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(select(func.max(events.c.seq))).scalar() or 0


def recent(
    engine: Engine, user: str | None, session: str | None, until: float, logged: int, limit: int = 200
) -> list[dict[str, Any]]:
    """The last events of a user (or of a session without user) that a bundle does not know, oldest first.

    A bundle knows what happened before ``until`` among the events up to number ``logged``.
    """
    if user is None and session is None:
        return []
    mine = events.c.user == user if user is not None else events.c.session == session
    unknown = or_(events.c.seq > logged, events.c.time >= until)
    query = select(events.c.time, events.c.body).where(mine, unknown)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query.order_by(events.c.seq.desc()).limit(limit)).all()
    return [{"time": r.time, **msgspec.json.decode(r.body)} for r in reversed(rows)]


def window(engine: Engine, since: float, until: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events and exposures of a span of time."""
    with engine.connect().execution_options(read_only=True) as connection:
        seen = connection.execute(select(events).where(events.c.time >= since, events.c.time < until)).mappings().all()
        shown = (
            connection.execute(select(exposures).where(exposures.c.time >= since, exposures.c.time < until))
            .mappings()
            .all()
        )
    return (
        [
            {
                "user": r["user"],
                "time": r["time"],
                "event_id": r["event_id"],
                **msgspec.json.decode(r["body"]),
            }
            for r in seen
        ],
        [{**r, "items": msgspec.json.decode(r["items"])} for r in shown],
    )
