"""What the gate reads from shoppers' answers: off-policy value and fairness, on a world whose truth is known."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.core.types import Evidence, Targets
from vetrina.gate.fairness import fairness
from vetrina.gate.off_policy import off_policy, samples
from vetrina.metrics.off_policy import value
from vetrina.pipeline.replay import drawn_answers
from vetrina.retrieval.shelf import Shelf
from vetrina.serve.app import create_app
from vetrina.simulate.files import write
from vetrina.simulate.plants import make_dull
from vetrina.simulate.shoppers import Shoppers
from vetrina.simulate.world import World

VISITS = 10_000


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> Iterator[tuple[Shop, tuple, Path, Path]]:
    """A shop that shows a fifth of its answers in a drawn order; its log, its champion and a duller version."""
    folder = tmp_path_factory.mktemp("answered")
    world = World(products=60, users=400, days=15, now=time.time() - 3_600)
    files = write(world, folder / "files")
    shop = Shop(folder / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("recommend")
    (folder / "shop" / "vetrina.toml").write_text("[serve]\nexplore = 0.2\n")
    since = time.time()
    with TestClient(create_app(folder / "shop")) as client:
        shoppers = Shoppers(world, client, time.time)
        for _ in range(VISITS):
            shoppers.ask_for_products(int(shoppers.rng.integers(0, world.users)))
        assert shoppers.tally.failed == 0
    champion, _ = shop.workshop.registry.champion("recommend")
    logged = drawn_answers(shop.workshop, "recommend", since, time.time())
    dull = shop.workshop.open_version(make_dull(shop))
    yield shop, logged, shop.workshop.open_version(champion), dull
    shop.workshop.engine.dispose()


def test_the_value_of_what_served_is_what_it_earned(answered):
    _, logged, champion, _ = answered
    assert len(logged) == VISITS
    found = value(samples("recommend", champion, logged))
    assert found.support == pytest.approx(1.0, abs=0.1)
    for estimate in found.estimates:
        assert estimate.low <= found.earned * 1.1
        assert estimate.high >= found.earned
    reason = off_policy("recommend", champion, logged)
    assert reason.passed
    assert reason.evaluable
    assert "not shown to earn less" in reason.text


def test_a_duller_version_is_shown_to_earn_less_or_called_not_evaluable(answered):
    _, logged, champion, dull = answered
    own = value(samples("recommend", champion, logged)).dr.point
    other = value(samples("recommend", dull, logged)).dr.point
    assert other < 0.8 * own
    reason = off_policy("recommend", dull, logged)
    assert not reason.passed or not reason.evaluable


def test_without_drawn_answers_nothing_is_said_to_pass(answered):
    _, logged, champion, _ = answered
    certain = [replace(a, propensities=(1.0,) * len(a.propensities)) for a in logged]
    reason = off_policy("recommend", champion, certain)
    assert not reason.evaluable
    assert "not evaluable" in reason.text
    assert "[serve] explore" in reason.text


def test_a_version_that_hides_most_products_is_shown_to_be_unfair(answered):
    _, _, champion, dull = answered
    shelf = Shelf(champion / "shelf")
    taken = tuple(np.array([i], np.int32) for i in [*range(len(shelf))] * 4)
    evidence = Evidence(targets=Targets(tuple(str(i) for i in range(len(taken))), taken))
    same = fairness("recommend", champion, champion, evidence, 0.05)
    assert [r.code for r in same] == ["fairness:brands", "fairness:price bands"]
    assert all(r.passed for r in same)
    assert all(r.numbers["low"] == pytest.approx(0.0, abs=1e-9) for r in same)
    few = fairness("recommend", dull, champion, evidence, 0.05)
    assert any(not r.passed for r in few), "everybody is shown the same ten products"
    assert any("unfairer" in r.text for r in few)
