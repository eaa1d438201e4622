"""Made-up clicks are told from real ones, and only they are left out."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shops import checkerboard

from vetrina import Shop
from vetrina.data import dataset
from vetrina.data.click_fraud import detect_click_fraud, exclude_click_fraud
from vetrina.simulate.attacks import click_fraud_events
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.world import World

TARGETS = ("p17", "p23", "p31")


def log(users: int = 400, products: int = 60, days: int = 70, brief: float = 0.2, seed: int = 1) -> pl.DataFrame:
    """Users who come again and again, and some who come once; low numbers are popular."""
    rng = np.random.default_rng(seed)
    rows = []
    chance = 1.0 / np.arange(1, products + 1)
    chance /= chance.sum()
    for user in range(users):
        visits = 1 if rng.random() < brief else int(rng.integers(3, 12))
        for day in rng.integers(0, days, visits):
            for product in rng.choice(products, 4, p=chance):
                moment = datetime(2026, 1, 1) + timedelta(days=int(day), hours=float(rng.random() * 20))
                rows.append((moment, f"u{user}", "click", f"p{product}"))
    return pl.DataFrame(rows, schema=["timestamp", "user_id", "type", "product_id"], orient="row")


@pytest.mark.parametrize("brief", [0.0, 0.2, 0.6])
def test_a_log_without_pushes_has_none(brief):
    for seed in range(3):
        assert detect_click_fraud(log(brief=brief, seed=seed)).is_empty()


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_pushed_products_are_found_and_only_the_accounts_lose_events(share):
    real = log(users=800)
    fake = click_fraud_events(real, TARGETS, share, np.random.default_rng(2))
    both = pl.concat([real, fake]).with_row_index("number").with_columns(row=pl.lit("a column of the shop"))
    fraud = detect_click_fraud(both)
    assert set(TARGETS) <= set(fraud["product_id"])
    honest = exclude_click_fraud(both, fraud)
    gone = both.join(honest, on=both.columns, how="anti")
    assert (gone["user_id"].str.starts_with("account-")).mean() > 0.95
    assert not honest.filter(pl.col("user_id").str.starts_with("account-") & pl.col("product_id").is_in(TARGETS)).height
    assert honest["number"].is_sorted()


def test_a_launch_that_everybody_takes_to_is_no_push():
    real = log(users=800)
    rng = np.random.default_rng(3)
    users = real["user_id"].unique().sort().to_list()
    end = real["timestamp"].max()
    assert isinstance(end, datetime)
    rows = [
        (end - timedelta(hours=float(rng.random() * 160)), users[int(rng.integers(len(users)))], "click", "new")
        for _ in range(300)
    ]
    launch = pl.DataFrame(rows, schema=real.schema, orient="row")
    assert "new" not in detect_click_fraud(pl.concat([real, launch]))["product_id"]


def test_the_shop_of_the_generator_with_its_newcomers_and_releases_has_none(tmp_path: Path):
    files = write_input_files(World(products=240, users=800, days=42), tmp_path)
    events = pl.read_csv(files["events"], try_parse_dates=True)
    assert detect_click_fraud(events.select("timestamp", pl.col("user_id").cast(pl.String), "product_id")).is_empty()


def test_doubted_events_are_kept_reported_and_not_learnt_from(tmp_path: Path):
    files = checkerboard(tmp_path, users=120)
    real = pl.read_csv(files["events"]).with_columns(pl.from_epoch("timestamp").cast(pl.Datetime("us")))
    target = real["product_id"].value_counts(sort=True)["product_id"][-1]
    fake = click_fraud_events(
        real.select("timestamp", "user_id", "type", "product_id"), (target,), 0.2, np.random.default_rng(4)
    )
    pl.concat([real, fake], how="diagonal_relaxed").write_csv(tmp_path / "both.csv")
    learnt = {}
    for doubt in ("true", "false"):
        folder = tmp_path / doubt
        folder.mkdir()
        (folder / "vetrina.toml").write_text(f"[ingest]\nexclude_click_fraud = {doubt}\n")
        shop = Shop(folder)
        snapshot = shop.ingest(products=[files["products"]], events=[tmp_path / "both.csv"])
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None
        assert snapshot.rows["events"] == len(real) + len(fake)
        interactions = dataset.interactions(snapshot, catalogue, snapshot.cuts.end if snapshot.cuts else 0.0)
        assert interactions is not None
        item = catalogue.product_ids.tolist().index(str(target))
        learnt[doubt] = int((interactions.item == item).sum())
        check = next(c for c in shop.validate("recommend").checks if c.name == "pushed_products")
        assert (check.status, check.first) == (("WARN", str(target)) if doubt == "true" else ("PASS", ""))
    pushed = int((fake["product_id"] == target).sum())
    assert learnt["false"] - learnt["true"] == pushed


@pytest.mark.parametrize("number", [0, 1])
def test_paid_clicks_on_an_ad_are_told_though_its_product_is_looked_at_anyway(tmp_path: Path, number: int):
    world = World(products=300, users=600, days=60)
    moment = pl.from_epoch(pl.col("timestamp").cast(pl.Float64) * 1e6, "us")
    events = pl.read_csv(write_input_files(world, tmp_path)["events"], infer_schema=False)
    events = events.select(moment, "user_id", "type", "product_id").filter(pl.col("product_id") != "")
    target = world.product_ids[world.advertised[number]]
    looks = events.filter(pl.col("type") == "view")
    fake = click_fraud_events(looks, [target], 0.02, np.random.default_rng(number), days=28.0)
    own = fake.filter(pl.col("product_id") == target)
    impressions, clicked = (own.with_columns(type=pl.lit(kind)) for kind in ("ad_impression", "ad_click"))
    both = pl.concat([events, fake.filter(pl.col("product_id") != target), impressions, clicked])
    fraud = detect_click_fraud(both)
    assert set(fraud["product_id"]) == {target}
    theirs = pl.col("user_id").str.starts_with("account-") & (pl.col("type") == "ad_click")
    left = exclude_click_fraud(both, fraud).filter(theirs).height
    assert left <= 0.05 * clicked.height
    assert detect_click_fraud(events).is_empty()
