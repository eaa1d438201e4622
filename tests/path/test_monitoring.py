"""Days of a served shop, read from its log: what is kept, what is compared, what is said."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import shops
from litestar.testing import TestClient
from sqlalchemy import func, select

from vetrina import Shop
from vetrina.bundle.bundles import BundleStore
from vetrina.core import clock
from vetrina.core.errors import NotFound
from vetrina.core.health_types import SHOP_SCOPE
from vetrina.operate.daily_aggregation import DailyStatisticsReader, last_full_day
from vetrina.operate.health import check_health
from vetrina.serve.app import create_app
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World
from vetrina.store import daily_statistics
from vetrina.store.tables import events, exposures

pytestmark = pytest.mark.simulation

WORLD = World(products=60, users=500, days=12)
DAYS = 9
VISITS = 150


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = WORLD.now + clock.DAY - WORLD.now % clock.DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Iterator[tuple[Shop, Clock, int]]:
    """A shop after nine days of shoppers, at three in the morning of the tenth; on the last day its feed of events died."""
    folder = tmp_path_factory.mktemp("lived")
    now = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", now)
        files = write_input_files(WORLD, folder / "files")
        shop = Shop(shops.without_networks(folder / "shop"))
        shop.ingest(products=[files["products"]], events=[files["events"]])
        shop.fit("recommend", "search")
        first = int(now.now // clock.DAY)
        with TestClient(create_app(folder / "shop"), base_url="http://127.0.0.1:8337") as client:
            shoppers = SimulatedUsers(WORLD, shops.as_server(client), now)
            for day in range(DAYS):
                shoppers.fault = "dead-feed" if day == DAYS - 1 else ""
                for visit in range(VISITS * (2 if day == DAYS - 1 else 1)):
                    now.now = (first + day) * clock.DAY + 280.0 * visit + 60.0
                    shoppers.visit(visit)
        now.now = (first + DAYS) * clock.DAY + 3 * 3_600.0
        yield shop, now, first
        shop.shop_context.engine.dispose()


def test_a_day_is_kept_once_and_counts_what_the_log_holds(lived):
    shop, now, first = lived
    watch = DailyStatisticsReader(shop.shop_context, now.now)
    days = watch.load_days("recommend")
    assert [d.number for d in days] == list(range(first, first + DAYS))
    assert last_full_day(now.now) == first + DAYS - 1
    with shop.shop_context.engine.connect() as connection:
        answers = connection.execute(select(func.count()).where(exposures.c.scenario == "recommend")).scalar()
        logged = connection.execute(select(func.count()).select_from(events)).scalar()
    assert sum(d.count for d in days) == answers
    assert sum(d.count for d in watch.load_days(SHOP_SCOPE)) == logged
    assert sum(d.clicked for d in days) > 50
    assert DailyStatisticsReader(shop.shop_context, now.now).load_days("recommend") == days
    daily_statistics.save(shop.shop_context.engine, days[0])  # another controller that was as fast changes nothing
    assert daily_statistics.load_since(shop.shop_context.engine, "recommend", first) == days


def test_what_was_served_is_given_again_by_the_same_version(lived):
    shop, now, _ = lived
    for part in ("recommend", "search"):
        replayed = [d.replayed for d in DailyStatisticsReader(shop.shop_context, now.now).load_days(part) if d.replayed]
        assert sum(n for n, _ in replayed) > 100
        assert np.average([share for _, share in replayed], weights=[n for n, _ in replayed]) > 0.99


def test_the_health_of_the_last_day_says_what_is_wrong(lived):
    shop, *_ = lived
    report = check_health(shop.shop_context, "recommend")
    health = report.health
    assert health.answers > 150
    assert health.events == 0
    assert {"score", "shown price", "shown category"} <= set(health.drift)
    assert "shop-dead-feed" in [a.code for a in report.alarms]
    assert "price in events" not in health.drift
    assert 0.0 < health.coverage <= 1.0
    assert health.replay_overlap > 0.99
    assert not [a for a in report.alarms if "drift" in a.code]
    query = check_health(shop.shop_context, "search").health
    assert "query meaning" in {*query.drift, *query.not_evaluable}


def test_days_of_a_version_whose_files_are_gone_are_kept_all_the_same(lived, monkeypatch):
    shop, now, first = lived
    monkeypatch.setattr(BundleStore, "unpack", gone)
    watch = DailyStatisticsReader(shop.shop_context, now.now)
    day = watch._read_answers_day("recommend", first, [])
    assert day.count > 50
    assert day.replayed is None
    assert "shown category" not in day.features


THERE = BundleStore.unpack


def gone(self, version: str, **how):
    """Only what recommended is gone."""
    if version.startswith("recommend"):
        raise NotFound(version, "has no bundle", "none")
    return THERE(self, version, **how)


def test_predictions_are_compared_with_what_was_learnt_and_with_what_came_true(predicting, tmp_path, monkeypatch):
    folder, table = predicting
    now = Clock()
    monkeypatch.setattr(clock, "now", now)
    shop = Shop(shutil.copytree(folder, tmp_path / "shop"))
    header, *lines = table.read_text().splitlines()
    names = header.split(",")[:-1]
    rows = [dict(zip(names, line.split(",")[:-1], strict=True)) for line in lines[:300]]
    number = next(n for n in names if all(_is_number(r[n]) for r in rows))
    with TestClient(create_app(tmp_path / "shop"), base_url="http://127.0.0.1:8337") as client:
        for day in range(2):  # as learnt, then with one column moved
            predictions = []
            for start in range(0, 300, 50):
                shifted_rows = [r | {number: float(r[number]) + 40.0 * day} for r in rows[start : start + 50]]
                answer = client.post("/v1/predict", json={"rows": shifted_rows})
                assert answer.status_code == 200, answer.text
                body = answer.json()
                predictions += [
                    (body["request_id"], n, p["probability"]) for n, p in enumerate(body["predictions"], start=1)
                ]
            labels = [
                {"user_id": "feed", "type": "label", "request_id": r, "position": n, "value": 1.0, "timestamp": now.now}
                for r, n, _ in predictions
            ]
            assert shops.as_server(client).post("/v1/events", json=labels).status_code == 202
            if day == 0:
                now.now += clock.DAY
    now.now += clock.DAY
    before = check_health(shop.shop_context, "predict").health
    assert before.answers == 300
    assert before.drift[number].drifted
    others = [n for n in names if n != number and n in before.drift]
    assert not [n for n in others if before.drift[n].drifted]
    assert before.calibration.point > 1.2, "every label said yes"
    now.now -= clock.DAY
    assert not any(d.drifted for n, d in check_health(shop.shop_context, "predict").health.drift.items() if n in names)
    shop.shop_context.engine.dispose()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
