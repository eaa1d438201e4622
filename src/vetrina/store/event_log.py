"""Events and exposures: durable before they are acknowledged, one commit for many waiting requests."""

import logging
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table, func, insert, or_, select

from vetrina.security.keys import Keys
from vetrina.store.database import lock_log
from vetrina.store.tables import events, exposures, shadow_answers, users

_MAX_BATCH = 2_000
_CHUNK_SIZE = 500
_LOG = logging.getLogger("vetrina.store")


@dataclass(frozen=True)
class Event:
    """One event as it is kept: ``user`` and ``session`` are pseudonyms, ``body`` the other columns as JSON."""

    event_id: str
    user: str
    session: str | None
    time: float
    body: str
    sealed_id: bytes | None


class EventLog:
    """Group commit: one writer thread takes whatever waits and commits it together."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys
        self._queue: queue.Queue[tuple[Table, Any, Future[int]] | None] = queue.Queue()
        self._known_users: set[str] = set()
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def add(self, batch: Sequence[Event]) -> "Future[int]":
        """Resolves to the number of new events once all are on disk; repeated ids count once."""
        future: Future[int] = Future()
        self._queue.put((events, batch, future))
        return future

    def log_exposure(self, row: dict[str, Any]) -> None:
        """Log what was shown; does not wait."""
        self._queue.put((exposures, row, Future()))

    def log_shadow_answer(self, row: dict[str, Any]) -> None:
        """Log what a candidate computed unseen; does not wait."""
        self._queue.put((shadow_answers, row, Future()))

    def close(self) -> None:
        """Write what waits, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        running = True
        while running:
            taken = [self._queue.get()]
            while len(taken) < _MAX_BATCH and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            running = None not in taken
            self._write([t for t in taken if t is not None])

    def _write(self, work: list[tuple[Table, Any, "Future[int]"]]) -> None:
        try:
            with self._engine.begin() as connection:
                lock_log(connection, "events")
                for table in (exposures, shadow_answers):
                    rows = [row for kind, row, _ in work if kind is table]
                    if rows:
                        connection.execute(insert(table), rows)
                added = self._insert(connection, [batch if kind is events else () for kind, batch, _ in work])
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
            lost = sum(kind is exposures for kind, _, _ in work)
            if lost:
                _LOG.error("%d exposures could not be written (%s)", lost, error)
            for _, _, future in work:
                future.set_exception(error)
            return
        for (_, _, future), count in zip(work, added, strict=True):
            future.set_result(count)

    def _insert(self, connection: Connection, batches: Sequence[Sequence[Event]]) -> list[int]:
        """All batches with one look-up and one insert; how many events of each are new. The first of equal ids counts."""
        ids = list(dict.fromkeys(e.event_id for batch in batches for e in batch))
        known: set[str] = set()
        for start in range(0, len(ids), _CHUNK_SIZE):
            query = select(events.c.event_id).where(events.c.event_id.in_(ids[start : start + _CHUNK_SIZE]))
            known |= set(connection.execute(query).scalars())
        fresh: list[Event] = []
        added: list[int] = []
        for batch in batches:
            before = len(fresh)
            for event in batch:
                if event.event_id not in known:
                    known.add(event.event_id)
                    fresh.append(event)
            added.append(len(fresh) - before)
        if fresh:
            self._insert_users(connection, fresh)
            columns = ("event_id", "user", "session", "time", "body")
            connection.execute(insert(events), [{c: getattr(e, c) for c in columns} for e in fresh])
        return added

    def _insert_users(self, connection: Connection, batch: list[Event]) -> None:
        new = {e.user: e.sealed_id for e in batch if e.sealed_id and e.user not in self._known_users}
        if not new:
            return
        there = set(connection.execute(select(users.c.pseudonym).where(users.c.pseudonym.in_(list(new)))).scalars())
        rows = [{"pseudonym": name, "sealed_id": sealed} for name, sealed in new.items() if name not in there]
        if rows:
            connection.execute(insert(users), rows)
        self._known_users.update(new)


def rows_after(engine: Engine, after_seq: int, limit: int = 100_000) -> tuple[list[dict[str, Any]], int]:
    """The next events of the log, under the design's column names, and the number of the last of them."""
    query = select(events).where(events.c.seq > after_seq).order_by(events.c.seq).limit(limit)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    found = [
        {"timestamp": r.time, "user_id": r.user, "event_id": r.event_id, **msgspec.json.decode(r.body)} for r in rows
    ]
    return found, rows[-1].seq if rows else after_seq


def last_seq(engine: Engine) -> int:
    """The number of the newest event, 0 when there is none."""
    with engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(select(func.max(events.c.seq))).scalar() or 0


def recent_events(
    engine: Engine,
    user: str | None,
    session: str | None,
    since: float,
    after_seq: int,
    limit: int = 200,
    as_of: float | None = None,
) -> list[dict[str, Any]]:
    """The last events of a user (or of a session without user) that a bundle does not know, oldest first.

    A bundle knows what happened before ``until`` among the events up to number ``logged``. ``as_of`` leaves out what
    happened later.
    """
    if user is None and session is None:
        return []
    mine = events.c.user == user if user is not None else events.c.session == session
    unknown = or_(events.c.seq > after_seq, events.c.time >= since)
    query = select(events.c.time, events.c.body).where(mine, unknown)
    if as_of is not None:
        query = query.where(events.c.time < as_of)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query.order_by(events.c.seq.desc()).limit(limit)).all()
    return [{"time": r.time, **msgspec.json.decode(r.body)} for r in reversed(rows)]


def answers_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The logged answers with these request ids, of whatever scenario."""
    wanted = list(request_ids)
    found = {}
    columns = [exposures.c[c] for c in ("request_id", "scenario", "time", "items")]
    with engine.connect().execution_options(read_only=True) as connection:
        for start in range(0, len(wanted), _CHUNK_SIZE):
            query = select(*columns).where(exposures.c.request_id.in_(wanted[start : start + _CHUNK_SIZE]))
            for row in connection.execute(query).mappings():
                items = frozenset(i.get("product_id") for i in msgspec.json.decode(row["items"]))
                found[row["request_id"]] = {**row, "items": items}
    return found


def ad_clicks(engine: Engine, after_seq: int, since: float) -> tuple[list[dict[str, Any]], int]:
    """Clicks on ads that name the answer they followed, after number ``seq`` and not before ``since``, in the order of the log;
    and the number of the last event looked at."""
    query = select(events.c.seq, events.c.time, events.c.body).where(events.c.seq > after_seq, events.c.time >= since)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query.order_by(events.c.seq)).all()
    found = [{"time": r.time, **msgspec.json.decode(r.body)} for r in rows]
    clicks = [c for c in found if c.get("type") == "ad_click" and c.get("request_id")]
    return clicks, rows[-1].seq if rows else after_seq


def items_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """What the logged answers with these request ids held."""
    wanted = list(request_ids)
    found = {}
    with engine.connect().execution_options(read_only=True) as connection:
        for start in range(0, len(wanted), _CHUNK_SIZE):
            columns = (exposures.c.request_id, exposures.c["items"])
            query = select(*columns).where(exposures.c.request_id.in_(wanted[start : start + _CHUNK_SIZE]))
            found |= {request: msgspec.json.decode(items) for request, items in connection.execute(query)}
    return found


def predictions_by_request_id(engine: Engine, request_ids: Iterable[str]) -> dict[str, list[float]]:
    """Probabilities, or numbers, of the logged answers with these request ids, by row."""
    wanted = list(request_ids)
    found = {}
    for start in range(0, len(wanted), _CHUNK_SIZE):
        query = select(exposures.c.request_id, exposures.c["items"]).where(
            exposures.c.request_id.in_(wanted[start : start + _CHUNK_SIZE]), exposures.c.scenario == "predict"
        )
        with engine.connect().execution_options(read_only=True) as connection:
            for request, items in connection.execute(query):
                found[request] = [i.get("probability", i.get("prediction")) for i in msgspec.json.decode(items)]
    return found


def first_exposures(engine: Engine, rollout: str, step: int, since: float, until: float) -> dict[str, float]:
    """Units of a release's step by the time of the first answer that they met there, where it lies in (since, until]."""
    unit = func.coalesce(exposures.c.user, exposures.c.session)
    first = func.min(exposures.c.time)
    query = (
        select(unit.label("unit"), first.label("first"))
        .where(exposures.c.rollout == rollout, exposures.c.step == step, exposures.c.time <= until)
        .group_by(unit)
        .having(first > since)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return {r.unit: r.first for r in connection.execute(query)}


def list_answers(
    engine: Engine, scenario: str, since: float, until: float, *, with_items: bool = False, sample_bound: str = ""
) -> list[dict[str, Any]]:
    """Answers of a scenario in (since, until], with what was asked and what they held if ``items``.

    ``below`` draws a sample: answers whose request id, a random hexadecimal number, is smaller.
    """
    names = ("request_id", "time", "version", "arm", "user", "session", "seconds", "fault", "rollout", "step")
    columns = [exposures.c[c] for c in (*names, *(("request", "items") if with_items else ()))]
    query = select(*columns).where(
        exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until
    )
    if sample_bound:
        query = query.where(exposures.c.request_id < sample_bound)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = [dict(r) for r in connection.execute(query).mappings()]
    return [{**r, "items": msgspec.json.decode(r["items"])} for r in rows] if with_items else rows


def sample_bound(share: float) -> str:
    """The request id ``below`` which about ``share`` of all answers lie; empty for all of them."""
    return "" if share >= 1 else f"{int(share * 16**8):08x}"


def count_answers(engine: Engine, scenario: str, since: float, until: float) -> dict[tuple[str, str], int]:
    """How many answers of a scenario in (since, until], by version and arm."""
    query = (
        select(exposures.c.version, exposures.c.arm, func.count())
        .where(exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until)
        .group_by(exposures.c.version, exposures.c.arm)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return {(version, arm): count for version, arm, count in connection.execute(query)}


def first_timestamp(engine: Engine) -> float | None:
    """The time of the oldest answer or event, None where there is neither."""
    with engine.connect().execution_options(read_only=True) as connection:
        times = [connection.execute(select(func.min(t.c.time))).scalar() for t in (events, exposures)]
    return min((t for t in times if t is not None), default=None)


def list_events(engine: Engine, since: float, until: float) -> list[dict[str, Any]]:
    """Events in (since, until], with the unit that they belong to."""
    query = select(events.c.event_id, events.c.user, events.c.session, events.c.time, events.c.body).where(
        events.c.time > since, events.c.time <= until
    )
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    return [
        {**msgspec.json.decode(r.body), "user": r.user, "session": r.session, "time": r.time, "event_id": r.event_id}
        for r in rows
    ]
