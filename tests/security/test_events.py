"""Events: what they may hold, whom they may harm, what becomes of them in the log."""

import logging
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sqlalchemy import text

from vetrina import Shop
from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.errors import Overloaded
from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.core.snapshots import Snapshot
from vetrina.data import dataset
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store import event_log
from vetrina.store.database import lock_log, open_store
from vetrina.store.event_log import Event, EventLog
from vetrina.store.event_queries import lake_rows_after
from vetrina.store.tables import exposures
from vetrina.store.weight_caps import MAX_DAILY_WEIGHT

pytestmark = pytest.mark.security

JSON = {"content-type": "application/json"}
NOON = 1_780_000_000.0 // DAY * DAY + DAY / 2
EVENTS_OF_THE_FIXTURE = 3_600
PRICE = 1.0  # of a click
LONG = "s" * 200
NUL = "s-4\x00"


def an_event(event_id: str, user: str = "u", time: float = 1.0, **body: Any) -> Event:
    """An event as the log takes it."""
    content = msgspec.json.encode({"type": "view", **body}).decode()
    return Event(event_id, user, None, time, content, b"sealed")


def an_exposure(request_id: str, **fields: Any) -> Exposure:
    """A logged answer without items."""
    exposure = Exposure(
        request_id=request_id, scenario="recommend", version="v", time=1.0, arm="champion", request_json="{}"
    )
    return replace(exposure, **fields)


# What an event may hold


def test_a_position_beyond_64_bits_is_refused(client):
    """S1: every number of an event has bounds; what the lake cannot hold is a 400."""
    content = b'{"user_id": "a", "type": "view", "product_id": "p001", "position": ' + b"9" * 40 + b"}"
    assert client.post("/v1/events", content=content, headers=JSON).status_code == 400


def test_a_logged_event_that_the_lake_cannot_hold_is_set_aside(own_shop):
    """S1: a row of the log that does not shape goes to quarantine, and the others of its log are taken."""
    shop = Shop(own_shop)
    log = EventLog(shop.shop_context.engine, shop.folder.keys)
    bad = Event("bad", "u", None, 1.0, '{"type": "view", "product_id": "p001", "position": ' + "9" * 40 + "}", b"x")
    log.add([bad, an_event("good", product_id="p001")]).result()
    log.close()
    snapshot = shop.ingest()
    shop.shop_context.engine.dispose()
    assert snapshot.rows["events"] == EVENTS_OF_THE_FIXTURE + 1
    assert snapshot.quarantined == 1


@pytest.mark.parametrize(
    "money",
    [{"price": -1e308}, {"price": 1e308}, {"price": -1.0}, {"quantity": 1e308}, {"quantity": -1e308}, {"value": 1e308}],
    ids=str,
)
def test_money_without_bounds_is_refused(client, money):
    """S2: what a purchase is worth is neither negative nor so large that a sum of it is infinite."""
    event = {"user_id": "a", "type": "purchase", "product_id": "p001", **money}
    assert client.post("/v1/events", json=event).status_code == 400


# Whom an event may harm


def test_an_event_id_of_somebody_else_does_not_stand_in_the_way(client):
    """S7: an event id is one of its user's: a real purchase counts although a stranger used its id before."""
    squatter = {"user_id": "mallory", "type": "view", "product_id": "x", "event_id": "order-1001"}
    purchase = {"user_id": "alice", "type": "purchase", "product_id": "p001", "price": 99.0, "event_id": "order-1001"}
    client.post("/v1/events", json=squatter).raise_for_status()
    assert client.post("/v1/events", json=purchase).json() == {"accepted": 1, "new": 1}


def test_events_put_no_product_into_a_catalogue(own_shop, own_client):
    """S5: where the shop has a table of products, the catalogue holds those products and no others."""
    name = "<img src=x onerror=alert(1)>"
    own_client.post("/v1/events", json={"user_id": "m", "type": "purchase", "product_id": name})
    shop = Shop(own_shop)
    catalogue = dataset.catalogue(shop.ingest())
    shop.shop_context.engine.dispose()
    assert name not in catalogue.product_ids.tolist()


def test_anonymous_events_create_no_product_without_a_table_either(tmp_path):
    """S5: without a table of products they are those that the shop itself reports events on."""
    events = pl.DataFrame(
        {
            "timestamp": [datetime(2026, 5, 1, tzinfo=UTC).replace(tzinfo=None)] * 2,
            "user_id": ["a", "m"],
            "type": ["view", "view"],
            "product_id": ["own", "made up"],
            "_anonymous": [None, True],
        }
    )
    events.write_parquet(tmp_path / "events.parquet")
    catalogue = dataset.catalogue(Snapshot("digest", tmp_path, {"events": 2}, None, 0))
    assert catalogue.product_ids.tolist() == ["own"]


def test_accounts_made_up_in_one_minute_do_not_decide_what_sells(own_shop, own_client):
    """S5: purchases that somebody dates back, so that accounts look as old as honest ones, push no product."""
    now = clock.now()
    made_up = [
        {"user_id": f"m{number}", "type": "purchase", "product_id": "p003", "timestamp": now - days * DAY}
        for number in range(400)
        for days in (0, 9)
    ]
    own_client.post("/v1/events", json=made_up)
    shop = Shop(own_shop)
    snapshot = shop.ingest()
    shop.shop_context.engine.dispose()
    catalogue = dataset.catalogue(snapshot)
    interactions = dataset.interactions(snapshot, catalogue, now + DAY)
    sold = np.bincount(interactions.item, interactions.weight, len(catalogue.product_ids))
    pushed = catalogue.product_ids.tolist().index("p003")
    assert sold[pushed] <= 2 * np.median(sold)


class Campaign:
    """A campaign that pays for clicks, as the logs of answers and of events know it."""

    def __init__(self, log: EventLog, ledger: StoredSpendLedger, budget: float) -> None:
        self._log = log
        self._ledger = ledger
        self._budget = budget

    def show(self, request_id: str, user: str) -> None:
        """Log an answer that shows its ad to a user."""
        item = LoggedItem(1, "p1", propensity=1.0, ad_id="a1", campaign_id="c1", price=PRICE, click_chance=0.1)
        self._log.log_exposure(an_exposure(request_id, scenario="ads", user=user, items=(item,), time=NOON))

    def click(self, request_id: str, user: str, event_id: str = "", time: float = NOON) -> None:
        """Log a click on the ad of that answer; returns once it is on disk."""
        body = {"type": "ad_click", "product_id": "p1", "request_id": request_id}
        self._log.add([an_event(event_id or f"click-{request_id}", user, time, **body)]).result()

    def spent(self) -> float:
        """What the clicks have cost so far."""
        self._ledger.refresh({"c1": self._budget})
        return self._ledger.daily_spend("c1", clock.now())


@pytest.fixture
def campaign(engine, keys, monkeypatch):
    """A campaign with a budget of 100 clicks, at noon."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    log = EventLog(engine, keys)
    yield Campaign(log, StoredSpendLedger(engine), 100 * PRICE)
    log.close()


def test_a_click_of_somebody_who_was_not_shown_the_ad_costs_nothing(campaign):
    """S8: a click is charged if it comes from the user to whom the answer was shown."""
    campaign.show("r1", "alice")
    campaign.click("r1", "bot")
    assert campaign.spent() == 0.0


def test_one_user_cannot_spend_the_budget_of_a_day(campaign):
    """S8: how many clicks of one user are charged in a day is limited."""
    for number in range(100):
        campaign.show(f"r{number}", "bot")
    for number in range(100):
        campaign.click(f"r{number}", "bot")
    assert campaign.spent() < 50 * PRICE


def test_a_click_dated_tomorrow_does_not_make_the_real_one_free(campaign):
    """S8: when a click was made is for the server's clock to say."""
    campaign.show("r1", "alice")
    campaign.click("r1", "alice", "early", NOON + DAY)
    campaign.spent()
    campaign.click("r1", "alice", "real", NOON + 60)
    assert campaign.spent() == PRICE


def test_a_click_a_day_after_its_answer_costs_nothing(campaign, monkeypatch):
    """S8: a click is charged within a day of its answer, by the server's clock."""
    campaign.show("r1", "alice")
    monkeypatch.setattr(clock, "now", lambda: NOON + DAY + 60)
    campaign.click("r1", "alice")
    assert campaign.spent() == 0.0


def test_without_the_token_the_servers_clock_counts(own_client, token):
    """S5: an anonymous time that is off by more than ten minutes is replaced; the shop's server may report the past."""
    now = clock.now()
    anonymous = [{"user_id": "a", "type": "view", "timestamp": now - seconds} for seconds in (DAY, 300)]
    own_client.post("/v1/events", json=anonymous).raise_for_status()
    own_client.post("/v1/events", json={"user_id": "b", "type": "view", "timestamp": now - DAY}, headers=token)
    rows, _ = lake_rows_after(own_client.app.state.service.engine, 0)
    ages = [now - row["timestamp"] for row in rows]
    assert ages[0] < 60
    assert ages[1:] == pytest.approx([300, DAY])


def test_an_address_adds_no_more_than_its_cap_to_training(own_shop, own_client):
    """S5: what one address adds in a day is capped, whichever users it makes up; the rest is kept, but not trained on."""
    session_ids = [f"s{number}" for number in range(500)]
    events = [{"user_id": "a", "session_id": name, "type": "purchase", "product_id": "p003"} for name in session_ids]
    own_client.post("/v1/events", json=events).raise_for_status()
    shop = Shop(own_shop)
    snapshot = shop.ingest()
    shop.shop_context.engine.dispose()
    trained_on = dataset.interactions(snapshot, dataset.catalogue(snapshot), clock.now() + DAY)
    user = trained_on.users.tolist().index(shop.folder.keys.pseudonymise("a"))
    assert snapshot.rows["events"] == EVENTS_OF_THE_FIXTURE + 500
    assert trained_on.weight[trained_on.user == user].sum() == MAX_DAILY_WEIGHT


def test_a_batch_takes_the_good_events_and_names_the_others(own_client):
    """S4: a bad event refuses nothing but itself."""
    good = {"user_id": "a", "type": "view", "product_id": "p001", "event_id": "e1"}
    batch = [good, {"user_id": "a"}, {**good, "type": "cart"}, {**good, "event_id": "e2"}]
    answer = own_client.post("/v1/events", json=batch)
    assert answer.status_code == 207
    assert (answer.json()["accepted"], answer.json()["new"]) == (2, 2)
    assert [(refused["index"], refused["status"]) for refused in answer.json()["refused"]] == [(1, 400), (2, 409)]
    assert "type" in answer.json()["refused"][0]["error"]
    assert own_client.post("/v1/events", json=batch[2]).status_code == 409
    assert own_client.post("/v1/events", json=batch[1:2]).status_code == 400


def test_a_wrong_token_is_refused_and_not_taken_for_none(client):
    """S5: whoever believes to be the shop's server must learn that the service does not."""
    headers = {"authorization": "Bearer wrong"}
    answer = client.post("/v1/events", json={"user_id": "a", "type": "view"}, headers=headers)
    assert answer.status_code == 401


# What becomes of an event in the log


def test_a_full_queue_refuses_events_and_drops_answers(engine, keys, monkeypatch):
    """S9: what waits for the store is bounded; nothing that is refused was acknowledged."""
    monkeypatch.setattr(event_log, "MAX_WAITING_EVENTS", 3)
    monkeypatch.setattr(event_log, "MAX_WAITING_ANSWERS", 2)
    dropped: list[int] = []
    log = EventLog(engine, keys, dropped.append)
    accepted = []
    refusals = []
    with engine.begin():  # the log has to wait
        for number in range(20):
            log.log_exposure(an_exposure(f"r{number}"))
            try:
                accepted.append(log.add([an_event(f"e{number}"), an_event(f"f{number}")]))
            except Overloaded as refused:
                refusals.append(refused.ready_in_seconds)
    log.close()
    assert len(refusals) >= 16
    assert all(refusals)
    assert all(future.result().n_new == 2 for future in accepted)
    assert len(lake_rows_after(engine, 0)[0]) == 2 * len(accepted)
    assert sum(dropped) >= 16


def test_a_log_that_was_closed_takes_no_more(engine, keys, monkeypatch):
    """S9: not even in the moment before its thread has ended, or nobody would ever answer the sender."""
    log = EventLog(engine, keys)
    log.close()
    monkeypatch.setattr(log, "is_alive", lambda: True)
    with pytest.raises(Overloaded):
        log.add([an_event("late")])


@pytest.mark.parametrize("session", [LONG, NUL], ids=["long", "NUL"])
def test_a_session_that_the_store_cannot_hold_never_gets_there(client, session):
    """S4: one rule for session ids in all routes: at most as long as the store's column, without control characters."""
    client.post("/v1/recommend", json={"session_id": session})
    client.post("/v1/events", json={"user_id": "a", "type": "view"}).raise_for_status()  # waits for the log
    with client.app.state.service.engine.connect() as connection:
        stored = connection.execute(exposures.select().where(exposures.c.session.is_not(None))).all()
    longest = exposures.c.session.type.length
    assert all(len(row.session) <= longest and row.session.isprintable() for row in stored)


@pytest.mark.parametrize("session", [LONG, NUL], ids=["long", "NUL"])
def test_one_bad_row_does_not_fail_the_events_of_others(url, keys, session):
    """S4: a row that the database refuses is left out of the group commit; the events beside it are on disk."""
    engine = open_store(url, keys)
    log = EventLog(engine, keys)
    with engine.begin() as connection:
        lock_log(connection, "events")  # the log has to wait, so that what follows is committed together
        before = log.add([an_event("before")])
        log.log_exposure(an_exposure("bad", session=session))
        after = log.add([an_event("after")])
    log.close()
    engine.dispose()
    assert before.result().n_new == 1
    assert after.result().n_new == 1


def test_a_waiter_that_is_cancelled_does_not_end_the_log(engine, keys):
    """S35: whoever stops waiting for an event leaves the log able to write all later ones."""
    log = EventLog(engine, keys)
    with engine.begin():  # the log has to wait
        log.add([an_event("given up")]).cancel()
    later = log.add([an_event("later")])
    log.close()  # writes what waits, as long as there is a thread that does
    assert later.done()


def test_an_error_of_the_store_logs_no_session(engine, keys, caplog):
    """S53: what is logged of a failed statement leaves out its parameters."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE exposures"))
    log = EventLog(engine, keys)
    with caplog.at_level(logging.ERROR):
        log.log_exposure(an_exposure("r1", session="login-cookie-53"))
        log.close()
    logged = [record.getMessage() for record in caplog.records]
    assert "login-cookie-53" not in logged[0]


def test_no_plain_session_id_is_in_the_store(own_shop, own_client):
    """S59: session ids are stored as pseudonyms, like user ids: a login cookie may be one."""
    session = "login-cookie-59"
    own_client.post("/v1/recommend", json={"session_id": session}).raise_for_status()
    event = {"user_id": "a", "session_id": session, "type": "view", "product_id": "p001"}
    own_client.post("/v1/events", json=event).raise_for_status()
    assert not _in_any_row(own_shop / "store.db", session)


def _in_any_row(file: Path, content: str) -> bool:
    """Whether any value of any table holds a text."""
    with sqlite3.connect(file) as store:
        dump = "\n".join(store.iterdump())
    return content in dump
