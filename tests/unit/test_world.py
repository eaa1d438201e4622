"""The made-up shop: what is on file agrees with its truth."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.world import World

WORLD = World(products=240, users=500, days=28)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Written once."""
    return write_input_files(WORLD, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def events(files) -> list[dict[str, str]]:
    """The history."""
    with files["events"].open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_world_gives_the_same_files(files, tmp_path):
    again = write_input_files(WORLD, tmp_path)
    other = write_input_files(World(products=240, users=500, days=28, seed=8), tmp_path / "other")
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)
    assert files["events"].read_bytes() != other["events"].read_bytes()


def test_nothing_happens_to_a_product_before_its_release(events):
    released = dict(zip(WORLD.product_ids, WORLD.released_at, strict=True))
    seen = [e for e in events if e["product_id"]]
    assert all(float(e["timestamp"]) >= released[e["product_id"]] for e in seen)
    new = {p for p, moment in released.items() if moment > WORLD.now - WORLD.days * 86_400}
    assert new & {e["product_id"] for e in seen}, "products that came during the history are met, too"


def test_every_kind_of_event_is_there(events):
    kinds = Counter(e["type"] for e in events)
    expected = {"view", "search", "impression", "click", "purchase", "return", "ad_impression", "ad_click"}
    assert set(kinds) == expected
    assert kinds["purchase"] > kinds["return"] > 0


def test_clicks_fall_with_the_place_as_the_world_says(events):
    impressions = np.zeros(6)
    clicked = np.zeros(6)
    for event in events:
        if event["type"] in ("impression", "click"):
            (impressions if event["type"] == "impression" else clicked)[int(event["position"]) - 1] += 1
    rate = clicked / impressions
    looked = WORLD.examination_probability(np.arange(6))
    # lists are in random order: what is left of the differences between places is how often they are looked at
    error = 3.0 * np.sqrt(rate * (1 - rate) / impressions) / rate[0]
    np.testing.assert_allclose(rate / rate[0], looked, atol=float((error + error[0]).max()))


def test_weekends_have_a_demand_of_their_own(events):
    category = dict(zip(WORLD.product_ids, WORLD.category, strict=True))
    share = {False: np.zeros(2), True: np.zeros(2)}
    for event in events:
        if event["type"] == "view":
            day = int(float(event["timestamp"]) // 86_400)
            share[(day + 3) % 7 >= 5] += [category[event["product_id"]] % 3 == 0, 1]
    assert share[True][0] / share[True][1] > share[False][0] / share[False][1]


def test_the_best_answer_is_the_best(events):
    for user in range(20):
        best = WORLD.best_products(user)
        assert (WORLD.stock[best] > 0).all()
        rest = np.setdiff1d(np.flatnonzero(WORLD.stock > 0), best)
        assert WORLD.appeal(user)[best].min() >= WORLD.appeal(user)[rest].max()
        value = WORLD.bid / (1 + np.exp(-WORLD.appeal(user)[WORLD.advertised]))
        assert value[WORLD.best_ad(user)] == value.max()


def test_the_files_are_taken_whole(files, tmp_path):
    from vetrina import Shop

    snapshot = Shop(tmp_path / "shop").ingest(**{name: [file] for name, file in files.items()})
    assert snapshot.quarantined == 0
    assert snapshot.rows["ads"] == len(WORLD.advertised)
    assert snapshot.rows["products"] == WORLD.products
