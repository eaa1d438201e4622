"""What the service logs comes home into the next snapshot, once, and serving folds only what a bundle does not know."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shops

from vetrina import Shop
from vetrina.core import clock
from vetrina.core.requests import Request
from vetrina.serve.event_decoding import known_sender, to_event
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.schemas import EventBody
from vetrina.serve.service import Service
from vetrina.store import products

pytestmark = pytest.mark.feeds


@pytest.fixture
def shop(pristine, tmp_path: Path) -> Shop:
    """A copy of the checkerboard shop, released."""
    return Shop(shutil.copytree(pristine[0], tmp_path / "shop"))


def log(shop: Shop, *bodies: EventBody) -> None:
    """As the HTTP route does."""
    service = Service(shop.folder)
    service.event_log.add([to_event(b, service.keys, known_sender()) for b in bodies]).result(timeout=10)
    service.event_log.close()
    service.engine.dispose()


def history(shop: Shop, user: str):
    """What an answer sees of a user now."""
    opened = Shop(shop.folder.root).load("recommend")
    events = StoredEvents(shop.shop_context.engine, {})
    changes = StoredChanges(shop.shop_context.engine)
    from vetrina.core.protocols import Context

    request = Request(user=shop.folder.keys.pseudonymise(user))
    return opened.history(request, Context(events, changes, clock.now()))


def test_logged_events_enter_the_snapshot_once(shop):
    before = shop.ingest()
    log(shop, EventBody("u003", "purchase", "p005", event_id="a"), EventBody("u003", "view", "p007", event_id="b"))
    after = shop.ingest()
    assert after.rows["events"] == before.rows["events"] + 2
    assert after.digest != before.digest
    assert after.logged["events"] == 2
    assert shop.ingest().digest == after.digest
    log(shop, EventBody("u003", "purchase", "p005", event_id="a"))
    assert shop.ingest().rows == after.rows, "a repeated id counts once"


def test_a_served_day_gives_the_batch_features(shop):
    """The replay test: fold a day of logged events into the old bundle, or build a new one from them."""
    rng = np.random.default_rng(0)
    now = clock.now()
    bodies = [
        EventBody(f"u{rng.integers(6):03d}", str(rng.choice(["view", "cart", "purchase"])), f"p{rng.integers(40):03d}",
                  timestamp=now - 1 - float(rng.integers(40_000)))
        for _ in range(80)
    ]  # fmt: skip
    log(shop, *bodies)
    served = {user: history(shop, user) for user in (f"u{n:03d}" for n in range(6))}
    old = shop.shop_context.registry.champion("recommend")[0]
    # What was logged is noise: a gate that minded would leave the judged file, which knows nothing of the holdout.
    (shop.folder.root / "vetrina.toml").write_text(shops.WITHOUT_NETWORKS.replace("[gate]", "[gate]\nmargin = 0.99"))
    shop = Shop(shop.folder.root)
    shop.fit("recommend")
    made = shop.shop_context.registry.list_versions()[0].version
    assert made != old
    shop.shop_context.registry.set_champion("recommend", made, "whatever the gate said: the features are looked at")
    for user, folded in served.items():
        batch = history(shop, user)
        np.testing.assert_array_equal(folded.items, batch.items)
        np.testing.assert_array_equal(folded.times, batch.times)
        np.testing.assert_array_equal(folded.counts_items, batch.counts_items)
        at_one_time = folded.counts * 2.0 ** (-(batch.now - folded.now) / (104 * shops.DAY))
        np.testing.assert_allclose(at_one_time, batch.counts, rtol=1e-6)


def test_put_and_deleted_products_come_home(shop):
    engine = shop.shop_context.engine
    products.append_products(engine, [{"product_id": "zebra", "title": "Zebra rug", "attributes": '{"pile":"high"}'}])
    products.append_products(engine, [{"product_id": "p001", "title": "Renamed kettle", "stock": 4.0}])
    products.append_deletion(engine, "p002")
    assert shop.search("zebra rug").items[0].product_id == "zebra", "found before any training"
    assert "p002" not in [i.product_id for i in shop.recommend("u002", limit=40).items]
    snapshot = shop.ingest()
    frame = pl.read_parquet(snapshot.folder / "products.parquet").filter(~pl.col("_deleted").fill_null(False))
    titles = dict(frame.select("product_id", "title").iter_rows())
    assert titles["zebra"] == "Zebra rug"
    assert titles["p001"] == "Renamed kettle"
    assert "p002" not in titles
    shop.fit("search")
    made = shop.shop_context.registry.list_versions()[0].version
    catalogue = shop.load("search", made).catalogue
    assert (catalogue.index_of(["zebra"]) >= 0).all()
    assert (catalogue.index_of(["p002"]) < 0).all()
    assert catalogue.last_seq == 3


def test_the_page_of_a_product_put_after_training_shows_its_category(shop):
    products.append_products(
        shop.shop_context.engine, [{"product_id": "zebra", "title": "Zebra", "category": "home > lamp"}]
    )
    answer = shop.similar("zebra", limit=8)
    assert len(answer.items) == 8
    assert all("lamp" in i.title for i in answer.items)


def test_a_version_is_evaluated_on_the_data_it_was_made_from(shop, tmp_path):
    before = shop.evaluate("recommend")
    more = tmp_path / "more.csv"
    more.write_text("product_id,title\na-first,Before all others\n")
    shop.ingest(products=[more])
    assert shop.evaluate("recommend") == before


def test_filters_and_order_hold_for_products_put_after_training(shop):
    engine = shop.shop_context.engine
    products.append_products(engine, [
        {"product_id": "n1", "title": "striped lamp", "price": 1.0, "category": "home > lamp", "stock": 0.0},
        {"product_id": "n2", "title": "striped lamp", "price": 1_000.0, "category": "home > lamp"},
    ])  # fmt: skip
    cheap = shop.search("lamp", sort="price", limit=100)
    assert cheap.items[0].product_id == "n1"
    assert cheap.items[-1].product_id == "n2"
    answer = shop.search("lamp", filters={"price": {"min": 500}})
    assert [i.product_id for i in answer.items] == ["n2"]
    assert "n1" not in [i.product_id for i in shop.search("lamp", filters={"in_stock": True}, limit=100).items]
