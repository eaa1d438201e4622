"""What every store keeps, whichever database it is: SQLite, PostgreSQL, MariaDB, each a real server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from vetrina.core import clock
from vetrina.core.columns import OVER_CAP_COLUMN
from vetrina.core.errors import BadInput, Conflict
from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.core.health_types import BinEdges, DailyStatistics, Moments
from vetrina.core.image_vector import ImageVector
from vetrina.core.keys import Keys, load_or_create
from vetrina.store import daily_statistics, database, event_queries, exposure_queries, products
from vetrina.store.database import lock_log, open_store, read
from vetrina.store.event_log import ANONYMOUS, Event, EventLog, Outcome
from vetrina.store.registry import Registry
from vetrina.store.tables import SCHEMA_VERSION, events, expectations, exposures, schema_version, users
from vetrina.store.upgrade import upgrade_shop
from vetrina.store.weight_caps import MAX_DAILY_WEIGHT


@pytest.fixture
def engine(url, keys) -> Iterator[Engine]:
    """An open store."""
    opened_engine = open_store(url, keys)
    yield opened_engine
    opened_engine.dispose()


@pytest.fixture
def keys(tmp_path) -> Keys:
    """A shop's keys."""
    return load_or_create(tmp_path / "keys")


def an_event(number: int, user: str = "u", **body) -> Event:
    """An event with the id e<number>."""
    content = msgspec.json.encode({"type": "click", **body}).decode()
    return Event(f"e{number}", user, None, 1_000.0 + number, content, b"sealed")


def test_events_are_kept_once_and_in_order(engine, keys):
    log = EventLog(engine, keys)
    assert log.add([an_event(1), an_event(2), an_event(1)]).result().n_new == 2
    assert log.add([an_event(2), an_event(3)]).result().n_new == 1
    log.close()
    rows, last = event_queries.lake_rows_after(engine, 0)
    assert [row["event_id"] for row in rows] == ["e1", "e2", "e3"]
    assert last == event_queries.last_seq(engine)
    assert event_queries.lake_rows_after(engine, last) == ([], last)


def test_an_event_id_is_one_of_its_user(engine, keys):
    log = EventLog(engine, keys)
    mine = Event("order-1", "alice", None, 1.0, '{"type":"view"}', b"x")
    log.add([mine]).result()
    again = Event("order-1", "alice", None, 9.0, '{"type":"view"}', b"x")
    other = Event("order-1", "alice", None, 1.0, '{"type":"purchase"}', b"x")
    theirs = Event("order-1", "bob", None, 1.0, '{"type":"purchase"}', b"x")
    added = log.add([again, other, theirs, theirs])
    log.close()
    assert added.result().outcomes == (Outcome.KNOWN, Outcome.CONFLICT, Outcome.NEW, Outcome.KNOWN)
    assert [row["user_id"] for row in event_queries.lake_rows_after(engine, 0)[0]] == ["alice", "bob"]


def test_a_row_that_no_database_can_hold_is_refused_alone(engine, keys):
    """S4: the events beside it are on disk, whichever request they came with."""
    log = EventLog(engine, keys)
    batch = [an_event(number, f"u{number % 7}") for number in range(40)]
    bad = {3, 17, 18, 39}
    for number in bad:
        batch[number] = Event(f"bad{number}", "u", None, 1.0, None, b"x")  # pyright: ignore[reportArgumentType]
    with engine.begin() as connection:
        lock_log(connection, "events")  # the log has to wait, so that both are committed together
        one = log.add(batch)
        other = log.add([an_event(100)])
    log.close()
    refused = {number for number, outcome in enumerate(one.result().outcomes) if outcome == Outcome.REFUSED}
    assert refused == bad
    assert one.result().n_new == len(batch) - len(bad)
    assert other.result().n_new == 1
    assert len(event_queries.lake_rows_after(engine, 0)[0]) == len(batch) - len(bad) + 1


def test_a_group_with_more_new_users_than_a_statement_has_parameters(engine, keys):
    """S37: the look-ups of a group are made in chunks."""
    log = EventLog(engine, keys)
    added = log.add([an_event(number, f"u{number}") for number in range(3_000)])
    log.close()
    assert added.result().n_new == 3_000


def test_what_an_anonymous_sender_adds_in_a_day_is_capped_for_all_workers(url, engine, keys, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 1_000_000.0)
    cap = int(MAX_DAILY_WEIGHT)

    def purchase(number: int, sender: str, session: str | None = None) -> Event:
        return Event(f"e{number}", "u", session, 1.0, '{"type":"purchase"}', b"x", ANONYMOUS, sender)

    other_engine = open_store(url, keys)
    for number, opened in enumerate((engine, other_engine)):
        log = EventLog(opened, keys)
        log.add([purchase(1_000 * number + n, "here") for n in range(cap - 10)]).result()
        log.close()
    log = EventLog(engine, keys)
    log.add([purchase(5_000 + n, f"address {n}", "s-1") for n in range(cap + 3)]).result()
    log.add([an_event(n) for n in range(9_000, 9_200)]).result()  # with the token
    log.close()
    evidence = event_queries.list_events(engine, 0.0, 1e6)
    assert sum(event.session == "s-1" for event in evidence) == cap
    assert sum(event.type == "purchase" for event in evidence) == 2 * cap
    assert sum(event.type == "click" for event in evidence) == 200
    rows, _ = event_queries.lake_rows_after(engine, 0)
    assert sum(row.get(OVER_CAP_COLUMN, False) for row in rows) == cap - 20 + 3, "they are kept"
    other_engine.dispose()


def test_ids_are_compared_byte_by_byte(engine, keys):
    log = EventLog(engine, keys)
    ids = ["a", "A", "a ", "ä", "日"]
    batch = [Event(i, i, None, 1.0, "{}", b"x") for i in ids]
    assert log.add(batch).result().n_new == len(ids)
    log.close()
    with engine.connect() as connection:
        assert len(connection.execute(select(users)).all()) == len(ids)
        assert len(connection.execute(select(events).where(events.c.user == "A")).all()) == 1


def test_large_and_strange_text_comes_back_as_it_was(engine):
    title = "🛒 \\ ' \" %s :x " + "ü" * 100_000
    products.append_products(engine, [{"product_id": "p", "title": title}])
    assert products.changes_after(engine, 0)[0][2] == {"product_id": "p", "title": title}


def test_vectors_of_images_are_added_to_what_nobody_changed_meanwhile(engine):
    rows = [{"product_id": f"p{n}", "title": "t", "image": "i.png"} for n in range(3)]
    seen = products.append_products(engine, rows)
    products.append_products(engine, [{**rows[1], "title": "other"}])
    products.append_deletion(engine, "p2")
    vector = ImageVector.of("n" * 64, np.array([0.6, -0.8], np.float32))
    assert products.add_image_vectors(engine, [(product, vector) for product in rows], seen) == 1
    added = products.changes_after(engine, seen + 2)
    assert [(change.product_id, change.product, change.image) for change in added] == [("p0", rows[0], vector)]
    np.testing.assert_allclose(vector.vector, [0.6, -0.8], atol=1e-3)
    statements, last = products.rows_after(engine, seen)
    assert [row["product_id"] for row in statements] == ["p1", "p2"], "ingest sees what the shop said"
    assert last == added[0].seq
    assert products.rows_after(engine, seen + 2) == ([], last)


def test_times_keep_their_microseconds(engine, keys):
    log = EventLog(engine, keys)
    moment = 1_764_000_000.123457
    log.add([Event("e", "u", None, moment, "{}", b"x")]).result()
    log.close()
    assert event_queries.lake_rows_after(engine, 0)[0][0]["timestamp"] == moment


def test_numbers_become_visible_in_their_order_with_many_writers(url, engine, keys):
    """A reader that follows by number must never pass a number that is still to be committed."""
    others = [open_store(url, keys) for _ in range(3)]
    stop = threading.Event()
    seen = []

    def follow() -> None:
        at = 0
        while not stop.is_set() or event_queries.last_seq(engine) > at:
            rows, at = event_queries.lake_rows_after(engine, at)
            seen.extend(row["event_id"] for row in rows)

    def write(n: int) -> None:
        log = EventLog(others[n], keys)
        waiting = [log.add([an_event(1_000 * n + i)]) for i in range(150)]
        assert sum(w.result().n_new for w in waiting) == 150
        log.close()

    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    stop.set()
    reader.join()
    for other in others:
        other.dispose()
    assert len(seen) == len(set(seen)) == 450


def test_one_of_many_who_saw_the_same_pointer_moves_it(url, engine, keys):
    others = [open_store(url, keys) for _ in range(4)]
    registries = [Registry(e, keys) for e in others]
    Registry(engine, keys).promote("search", "v0", (None, 0), "d0", "first")
    for round_ in range(1, 6):
        seen = Registry(engine, keys).champion("search")
        barrier = threading.Barrier(4)

        def move(n: int, seen=seen, barrier=barrier, round_=round_) -> int:
            barrier.wait()
            try:
                return registries[n].promote("search", f"v{round_}-{n}", seen, f"d{round_}-{n}", "race")
            except Conflict:
                return 0

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(move, range(4))) == 1
    log = Registry(engine, keys).promotions("search")
    assert [promotion.fence for promotion in log] == [1, 2, 3, 4, 5, 6]
    for other in others:
        other.dispose()


def test_an_answer_that_the_store_refuses_is_counted_and_stands_in_nobodys_way(engine, keys):
    exposure = Exposure(request_id="r", scenario="s", version="v", time=1.0, arm="champion", request_json="{}")
    dropped: list[int] = []
    log = EventLog(engine, keys, dropped.append)
    log.log_exposure(exposure)
    log.add([]).result()
    log.log_exposure(exposure)  # the same key again
    assert log.add([an_event(1)]).result().n_new == 1
    log.close()
    assert dropped == [1]
    assert event_queries.last_seq(engine) > 0


def test_a_store_is_opened_again_and_by_many_at_once(url, keys):
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(lambda _: open_store(url, keys), range(4)))
    with engines[0].connect() as connection:
        assert len(connection.execute(select(schema_version)).all()) == 1
    for engine in engines:
        engine.dispose()


def test_an_exposure_is_read_as_it_was_logged(engine, keys):
    ad = LoggedItem(
        1, "p1", propensity=1.0, score=0.5, ad_id="a1", campaign_id="c1", price=0.0, click_chance=0.1, team="canary"
    )
    organic = LoggedItem(2, "p2", propensity=0.25, score=None)
    exposure = Exposure(
        request_id="r1",
        scenario="ads",
        version="v",
        time=1.0,
        arm="canary",
        seconds=0.01,
        user="alice",
        rollout="release",
        step=2,
        request_json='{"limit":2}',
        items=(ad, organic),
    )
    row = LoggedItem(1, probability=0.0)
    predicted = replace(exposure, request_id="r2", scenario="predict", user=None, items=(row,))
    log = EventLog(engine, keys)
    log.log_exposure(exposure)
    log.log_exposure(predicted)
    log.close()
    assert exposure_queries.list_exposures(engine, "ads", 0.0, 2.0, with_items=True) == [exposure]
    assert exposure_queries.list_exposures(engine, "ads", 0.0, 2.0) == [replace(exposure, request_json="", items=())]
    by_request_id = exposure_queries.exposures_by_request_id(engine, ["r1", "r2", "unknown"])
    assert by_request_id["r1"].product_ids == {"p1", "p2"}
    assert [item.predicted for item in by_request_id["r2"].items] == [0.0]
    assert set(exposure_queries.exposures_by_request_id(engine, ["r1", "r2"], "ads")) == {"r1"}


def old_events() -> Table:
    """The table of events as 0.1.0 made it."""
    return Table(
        "events",
        MetaData(),
        Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
        Column("event_id", String(64), nullable=False, unique=True),
        Column("user", String(32), nullable=False),
        Column("session", String(128)),
        Column("time", Float(53), nullable=False),
        Column("body", Text, nullable=False),
    )


def test_events_of_schema_3_get_an_owner_for_their_ids(url, engine, keys):
    """Ids were unique over all users, and nobody knew who sent an event, or when it arrived."""
    table = old_events()
    with engine.begin() as connection:
        events.drop(connection)
        table.create(connection)
        for name, columns in (("events_by_time", ("time",)), ("events_by_user", ("user", "seq"))):
            Index(name, *(table.c[column] for column in columns)).create(connection)
        row = {"event_id": "order-1", "user": "alice", "time": 5.0, "body": '{"type":"view"}'}
        connection.execute(insert(table), [row])
        connection.execute(text("UPDATE schema_version SET version = 3"))
    for _ in range(2):  # the second time it changes nothing more
        upgrade_shop(url, keys)
        with engine.begin() as connection:
            connection.execute(text("UPDATE schema_version SET version = 3"))
    upgrade_shop(url, keys)
    log = EventLog(engine, keys)
    stored_event = Event("order-1", "alice", None, 5.0, '{"type":"view"}', b"x")
    theirs = Event("order-1", "bob", None, 5.0, '{"type":"view"}', b"x")
    assert log.add([stored_event, theirs]).result().outcomes == (Outcome.KNOWN, Outcome.NEW)
    log.close()
    with engine.connect() as connection:
        arrived = connection.execute(select(events.c.arrived).order_by(events.c.seq)).scalars().all()
        index_names = {index["name"] for index in inspect(connection).get_indexes("events")}
    assert arrived[0] == 5.0
    assert {index.name for index in events.indexes} <= index_names


def test_a_store_of_the_first_release_is_upgraded(url, engine, keys):
    """As 0.1.0 left it: without the columns and tables that came later."""
    with engine.begin() as connection:
        of_table = " ON exposures" if connection.dialect.name == "mariadb" else ""
        connection.execute(text(f"DROP INDEX exposures_by_rollout{of_table}"))
        keys_column = connection.dialect.identifier_preparer.quote("keys")
        connection.execute(text(f"ALTER TABLE schema_version DROP COLUMN {keys_column}"))
        for column in ("seconds", "fault", "rollout", "step"):
            connection.execute(text(f"ALTER TABLE exposures DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE stages DROP COLUMN cpu_seconds"))
        for table in (
            "rollout_log",
            "rollouts",
            "expectations",
            "shadows",
            "leases",
            "runs",
            "alerts",
            "writers",
            "days",
        ):
            connection.execute(text(f"DROP TABLE {table}"))
        events.drop(connection)
        old_events().create(connection)
        connection.execute(text("UPDATE schema_version SET version = 1"))
        row = {"time": 1.0, "scenario": "s", "version": "v", "arm": "champion", "request": "{}", "items": "[]"}
        old = {k: v for k, v in {"request_id": "r", **row}.items()}
        names = ", ".join(connection.dialect.identifier_preparer.quote(n) for n in old)
        connection.execute(text(f"INSERT INTO exposures ({names}) VALUES ({', '.join(f':{n}' for n in old)})"), old)
    upgrade_shop(url, keys)
    again = open_store(url, keys)
    with again.connect() as connection:
        assert connection.execute(select(schema_version.c.version)).scalar() == SCHEMA_VERSION
        assert connection.execute(select(exposures.c.fault)).all() == [(None,)]
    log = EventLog(again, keys)
    assert log.add([an_event(1)]).result().n_new == 1
    log.close()
    again.dispose()


def test_sessions_of_an_earlier_store_become_pseudonyms(url, engine, keys):
    """Before, events, exposures and expectations held session ids as they came; everything still joins afterwards."""
    person = keys.pseudonymise("anna")
    sealed = keys.seal("anna")
    body = msgspec.json.encode({"session_id": "cart-7", "type": "view", "query": "mail to bob@example.com"}).decode()
    log = EventLog(engine, keys)
    visits = [
        Event(f"e{n}", person, f"cart-{n}", 1.0, body.replace("cart-7", f"cart-{n}"), sealed) for n in range(1_500)
    ]
    log.add([*visits, Event("bob@example.com/1", person, None, 2.0, '{"type":"view"}', sealed)]).result()
    log.close()
    exposure_row = {
        "time": 1.0,
        "scenario": "s",
        "version": "v",
        "arm": "canary",
        "items": "[]",
        "rollout": "r",
        "step": 0,
    }
    requests = [
        {"request_id": "a", "user": None, "session": "cart-7", "request": '{"query":"bob@example.com"}'},
        {"request_id": "b", "user": person, "session": None, "request": '{"query":"shoes"}'},
    ]
    expected = {"rollout": "r", "clicks": 0.1, "conversion": 0.2, "revenue": 0.3}
    with engine.begin() as connection:
        connection.execute(insert(exposures), [exposure_row | row for row in requests])
        connection.execute(insert(expectations), [expected | {"unit": unit} for unit in ("cart-7", person)])
        connection.execute(text("UPDATE schema_version SET version = 2"))
    for _ in range(2):  # again it changes nothing more
        upgrade_shop(url, keys)

    session = keys.name_of_session("cart-7")
    event_by_id = {event.event_id: event for event in event_queries.list_events(engine, 0.0, 10.0)}
    lake_rows, _ = event_queries.lake_rows_after(engine, 0)
    session_ids = {row["event_id"]: row.get("session_id") for row in lake_rows}
    assert event_by_id["e7"].session == session_ids["e7"] == session
    assert event_by_id["e7"].query == keys.pseudonymise("mail to bob@example.com")
    assert event_by_id["e1499"].session == keys.name_of_session("cart-1499")
    assert len(event_by_id) == 1_501
    assert keys.pseudonymise("bob@example.com/1") in event_by_id
    assert [event.type for event in event_queries.recent_events(engine, None, session, 0.0, 0)] == ["view"]
    assert exposure_queries.first_exposure_times(engine, "r", 0, 0.0, 10.0) == {session: 1.0, person: 1.0}
    logged = exposure_queries.list_exposures(engine, "s", 0.0, 10.0, with_items=True)
    answers = {exposure.request_id: exposure for exposure in logged}
    assert answers["a"].request_json == f'{{"query":"{keys.pseudonymise("bob@example.com")}"}}'
    assert answers["b"].request_json == '{"query":"shoes"}'
    with engine.connect() as connection:
        assert set(connection.execute(select(expectations.c.unit)).scalars()) == {session, person}
    engine.dispose()
    if engine.dialect.name == "sqlite":
        assert b"cart-" not in Path(str(engine.url.database)).read_bytes(), "nor in what the file has set free"


def test_a_lock_that_somebody_keeps_is_not_waited_for_for_ever(url, engine, keys, monkeypatch):
    """S28: a process that stops in the middle of a transaction holds up others for some seconds, then they get an error."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    other = open_store(url, keys)
    with engine.begin() as stopped:
        lock_log(stopped, "events")
        with pytest.raises(OperationalError), other.begin() as connection:
            lock_log(connection, "events")
    with other.begin() as connection:
        lock_log(connection, "events")
    other.dispose()


def test_a_statement_that_takes_too_long_is_stopped(url, engine, keys):
    """S28: and the connection is good for the next one."""
    endless = {
        "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "postgresql": "SELECT pg_sleep(600)",
        "mariadb": "SELECT sleep(600)",
    }
    limited = open_store(url, keys, statement_seconds=0.3)
    with pytest.raises(DBAPIError), read(limited) as connection:
        connection.execute(text(endless[engine.dialect.name]))
    with read(limited) as connection:
        assert connection.execute(select(schema_version.c.version)).scalar() == SCHEMA_VERSION
    limited.dispose()


def test_errors_do_not_say_what_a_row_held(engine):
    row = {"time": 1.0, "scenario": "s", "version": "v", "arm": "champion", "items": "[]"}
    with engine.begin() as connection:
        connection.execute(insert(exposures), [{"request_id": "r", "request": "{}", **row}])
    with pytest.raises(IntegrityError) as refused, engine.begin() as connection:
        connection.execute(insert(exposures), [{"request_id": "r", "request": "bob@example.com", **row}])
    assert "bob@example.com" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["oracle://x/y", "no url", "mysql"])
def test_a_wrong_url_is_named(wrong, keys):
    with pytest.raises(BadInput, match="names no database"):
        open_store(wrong, keys)


def test_a_day_is_kept_once(engine):
    number = Moments(3, (1.0, 2.0), (1.0, 0.5, 2.0))
    day = DailyStatistics(
        "shop", 20_000, None, 9, 3, features={"price": number}, rulers={"price": BinEdges(edges=(0.0, 1.0))}
    )
    daily_statistics.save(engine, day)
    daily_statistics.save(engine, DailyStatistics("shop", 20_000))
    daily_statistics.save(engine, DailyStatistics("shop", 19_990))
    assert daily_statistics.load_since(engine, "shop", 19_991) == [day]
    assert [d.number for d in daily_statistics.load_since(engine, "shop", 0)] == [19_990, 20_000]
    assert daily_statistics.load_since(engine, "recommend", 0) == []
    daily_statistics.save(engine, DailyStatistics("learnt:v", 0))
    daily_statistics.delete_before(engine, 20_000)
    assert daily_statistics.load_since(engine, "shop", 0) == [day]
    assert daily_statistics.load_since(engine, "learnt:v", 0)


def test_events_wait_for_a_database_server_that_restarts(engine, keys):
    """SQLite is never away: it fails at once, as where its disk is full."""
    failures = iter(("the server is starting", "the server is starting"))

    def fail_twice(*_: object) -> None:
        failure = next(failures, None)
        if failure is not None:
            raise OperationalError("connecting", {}, RuntimeError(failure))

    log = EventLog(engine, keys)
    listen(engine, "before_cursor_execute", fail_twice)
    written = log.add([an_event(1)])
    if engine.dialect.name == "sqlite":
        assert isinstance(written.exception(), OperationalError)
    else:
        assert written.result().n_new == 1
    log.close()
