"""Retention: what is deleted, when, and what stays in any case (S25)."""

import os
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from vetrina import Shop
from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.errors import BadInput
from vetrina.core.settings import load
from vetrina.operate.retention import clean_up, delete_expired
from vetrina.store import expiry
from vetrina.store.event_log import Event, EventLog
from vetrina.store.tables import (
    alerts,
    events,
    expectations,
    exposures,
    message_log,
    rollouts,
    sender_weights,
    shadow_answers,
)

pytestmark = pytest.mark.security

EVENTS_DAYS = 760
ANSWERS_DAYS = 90
QUARANTINE_DAYS = 30


@pytest.fixture
def shop(tmp_path):
    """An empty shop with the default settings."""
    opened = Shop(tmp_path / "shop")
    yield opened
    opened.shop_context.engine.dispose()


def take_events(shop: Shop, *event_ids: str, age_days: float = 0.0) -> None:
    """Let the service log events which arrived that long ago and say they are from the year 2001."""
    context = shop.shop_context
    log = EventLog(context.engine, shop.folder.keys)
    user = shop.folder.keys.pseudonymise("anna")
    sealed = shop.folder.keys.seal("anna")
    body = '{"product_id":"p1","type":"view"}'
    log.add([Event(event_id, user, None, 1e9, body, sealed) for event_id in event_ids]).result()
    log.close()
    with context.engine.begin() as connection:
        arrived = clock.now() - age_days * DAY
        connection.execute(update(events).where(events.c.event_id.in_(event_ids)).values(arrived=arrived))


def kept_events(shop: Shop) -> list[str]:
    """Ids of the events in the store."""
    with shop.shop_context.engine.connect() as connection:
        return list(connection.execute(select(events.c.event_id).order_by(events.c.seq)).scalars())


def test_events_go_by_their_arrival_and_only_once_they_lie_in_the_lake(shop):
    """S25: a sender's clock neither saves nor deletes an event, and none is lost before it is read."""
    take_events(shop, "old", age_days=EVENTS_DAYS + 1)
    take_events(shop, "young", age_days=EVENTS_DAYS - 1)
    delete_expired(shop.shop_context)
    assert kept_events(shop) == ["old", "young"], "the lake does not have them yet"
    shop.ingest()
    delete_expired(shop.shop_context)
    assert kept_events(shop) == ["young"]


def test_the_newest_event_stays_so_that_its_number_is_not_given_again(shop):
    """S25: the lake goes on reading after the last number that it has read."""
    take_events(shop, "one", "two", age_days=EVENTS_DAYS + 1)
    shop.ingest()
    delete_expired(shop.shop_context)
    assert kept_events(shop) == ["two"]
    take_events(shop, "three")
    assert shop.ingest().logged["events"] == 3


def test_events_of_a_wrong_clock_keep_no_others(shop, monkeypatch):
    """S25: those that arrived while the machine was years ahead stay, and what came after them goes in its time."""
    monkeypatch.setattr(expiry, "BATCH_ROWS", 1)
    take_events(shop, "ahead", age_days=-9_999)
    take_events(shop, "old", age_days=EVENTS_DAYS + 1)
    take_events(shop, "newest")
    shop.ingest()
    delete_expired(shop.shop_context)
    assert kept_events(shop) == ["ahead", "newest"]


def test_answers_messages_and_alerts_go_after_their_days(shop):
    """S25: and so does what an ended release has left."""
    now = clock.now()
    answer = {"scenario": "recommend", "version": "v", "arm": "champion", "request": "{}", "items": "[]"}
    release = {"scenario": "recommend", "fence": 1, "created": now, "body": "{}"}
    unit = {"clicks": 0.0, "conversion": 0.0, "revenue": 0.0}
    with shop.shop_context.engine.begin() as connection:
        for name, age_days in (("old", ANSWERS_DAYS + 1), ("young", ANSWERS_DAYS - 1)):
            time = now - age_days * DAY
            connection.execute(insert(exposures).values(request_id=name, time=time, **answer))
            connection.execute(insert(message_log).values(user=name, channel="email", time=time))
            connection.execute(insert(alerts).values(key=name, text="text", time=time))
            connection.execute(insert(sender_weights).values(sender=name, day=time // DAY, weight=1.0))
        connection.execute(insert(sender_weights).values(sender="today", day=now // DAY, weight=1.0))
        connection.execute(insert(rollouts).values(id="ended", state="returned", **release))
        for release_id, unit_id in (("ended", "a"), ("ended", "b")):
            connection.execute(insert(expectations).values(rollout=release_id, unit=unit_id, **unit))
        connection.execute(insert(shadow_answers).values(rollout="ended", seconds=0.1, overlap=1.0))
    delete_expired(shop.shop_context)
    with shop.shop_context.engine.connect() as connection:
        for column in (exposures.c.request_id, message_log.c.user, alerts.c["key"]):
            assert connection.execute(select(column)).scalars().all() == ["young"]
        assert connection.execute(select(sender_weights.c.sender)).scalars().all() == ["today"]
        for table in (expectations, shadow_answers):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0


def test_what_others_still_read_stays_however_short_the_settings_are(tmp_path):
    """S25: a release counts outcomes in events, and the frequency cap counts the messages of four weeks."""
    folder = tmp_path / "shop"
    folder.mkdir()
    keep = "[keep]\nevents_days = 1\nanswers_days = 1\n"
    (folder / "vetrina.toml").write_text(keep + "[release]\npre_period_days = 2\ncap_days = 3\n")
    shop = Shop(folder)
    take_events(shop, "too old", age_days=6)
    take_events(shop, "read by a release", age_days=4)
    take_events(shop, "newest")
    with shop.shop_context.engine.begin() as connection:
        for name, age_days in (("too old", 29), ("counts", 27)):
            time = clock.now() - age_days * DAY
            connection.execute(insert(message_log).values(user=name, channel="email", time=time))
    shop.ingest()
    delete_expired(shop.shop_context)
    assert kept_events(shop) == ["read by a release", "newest"]
    with shop.shop_context.engine.connect() as connection:
        assert connection.execute(select(message_log.c.user)).scalars().all() == ["counts"]
    shop.shop_context.engine.dispose()


def made_old(folder: Path, days: float) -> None:
    """Let all files have arrived that long ago."""
    for file in folder.rglob("*"):
        os.utime(file, (clock.now() - days * DAY,) * 2)


def test_the_lake_is_pruned_only_where_a_setting_says_so(shop, tmp_path):
    """S25: quarantined rows go after their days; events of the lake stay until the shop decides otherwise."""
    file = tmp_path / "events.csv"
    file.write_text("user_id,product_id,type,timestamp\nu1,p1,view,2026-01-01\nu1,p1,view,nonsense\n")
    later = tmp_path / "later.csv"
    later.write_text("user_id,product_id,type,timestamp\nu2,p1,view,2026-01-02\n")
    shop.ingest(events=[file])
    lake = shop.folder.lake
    made_old(lake, QUARANTINE_DAYS + 1)
    shop.ingest(events=[later])
    clean_up(shop.shop_context)
    assert not list((lake / "quarantine").iterdir())
    assert shop.ingest().rows["events"] == 2

    (shop.folder.root / "vetrina.toml").write_text("[keep]\nlake_days = 28\n")
    pruned = Shop(shop.folder.root)
    clean_up(pruned.shop_context)
    assert pruned.ingest().rows["events"] == 1
    assert len(list((lake / "events").iterdir())) == 1
    pruned.shop_context.engine.dispose()


@pytest.mark.parametrize("line", ["answers_days = 0", "events_days = 1e9", "lake_days = 1", "quarantine_days = nan"])
def test_days_have_bounds(tmp_path, line):
    file = tmp_path / "vetrina.toml"
    file.write_text(f"[keep]\n{line}\n")
    with pytest.raises(BadInput, match=line.split(" ")[0]):
        load(file)
