"""What the gate reads from shoppers' answers: off-policy value and fairness, on a world whose truth is known."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shops
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.types import EvaluationData, Targets
from vetrina.evaluation.off_policy import estimate_value
from vetrina.gate.fairness import check_fairness
from vetrina.gate.off_policy_value import check_off_policy_value, position_samples
from vetrina.pipeline.replay import explored_answers
from vetrina.serve.app import create_app
from vetrina.simulate.fault_injection import serve_popularity_baseline
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World

pytestmark = pytest.mark.simulation

VISITS = 10_000


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> Iterator[tuple[Shop, tuple, Path, Path]]:
    """A shop that shows a fifth of its answers in a drawn order; its log, its champion and a duller version."""
    folder = tmp_path_factory.mktemp("answered")
    world = World(products=60, users=400, days=15, now=time.time() - 3_600)
    files = write_input_files(world, folder / "files")
    shop = Shop(shops.without_networks(folder / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("recommend")
    (folder / "shop" / "vetrina.toml").write_text("[serve]\nexploration_rate = 0.2\n")
    since = time.time()
    with TestClient(create_app(folder / "shop"), base_url="http://127.0.0.1:8337") as client:
        shoppers = SimulatedUsers(world, shops.as_server(client), time.time)
        for _ in range(VISITS):
            shoppers.recommend(int(shoppers.rng.integers(0, world.users)))
        assert shoppers.counts.failed_requests == 0
    champion, _ = shop.shop_context.registry.champion("recommend")
    logged = explored_answers(shop.shop_context, "recommend", since, time.time())
    dull = shop.shop_context.version_folder(serve_popularity_baseline(shop))
    yield shop, logged, shop.shop_context.version_folder(champion), dull
    shop.shop_context.engine.dispose()


def test_the_value_of_what_served_is_what_it_earned(answered):
    _, logged, champion, _ = answered
    assert len(logged) == VISITS
    found = estimate_value(position_samples("recommend", champion, logged))
    assert found.support == pytest.approx(1.0, abs=0.1)
    for estimate in found.estimates:
        assert estimate.low <= found.logged_value * 1.1
        assert estimate.high >= found.logged_value
    reason = check_off_policy_value("recommend", champion, logged)
    assert reason.passed
    assert reason.evaluable
    assert "not shown to earn less" in reason.text


def test_a_duller_version_is_shown_to_earn_less_or_called_not_evaluable(answered):
    _, logged, champion, dull = answered
    own = estimate_value(position_samples("recommend", champion, logged)).dr.point
    other = estimate_value(position_samples("recommend", dull, logged)).dr.point
    assert other < 0.8 * own
    reason = check_off_policy_value("recommend", dull, logged)
    assert not reason.passed or not reason.evaluable


def test_without_drawn_answers_nothing_is_said_to_pass(answered):
    _, logged, champion, _ = answered
    certain = [replace(a, propensities=(1.0,) * len(a.propensities)) for a in logged]
    reason = check_off_policy_value("recommend", champion, certain)
    assert not reason.evaluable
    assert "not evaluable" in reason.text
    assert "[serve] exploration_rate" in reason.text


def test_a_version_that_hides_most_products_is_shown_to_be_unfair(answered):
    _, _, champion, dull = answered
    shelf = CatalogueIndex(champion / "catalogue")
    taken = tuple(np.array([i], np.int32) for i in [*range(len(shelf))] * 4)
    evidence = EvaluationData(targets=Targets(tuple(str(i) for i in range(len(taken))), taken))
    same = check_fairness("recommend", champion, champion, evidence, 0.05)
    assert [r.code for r in same] == ["fairness:brands", "fairness:price bands"]
    assert all(r.passed for r in same)
    assert all(r.numbers["low"] == pytest.approx(0.0, abs=1e-9) for r in same)
    few = check_fairness("recommend", dull, champion, evidence, 0.05)
    assert any(not r.passed for r in few), "everybody is shown the same ten products"
    assert any("unfairer" in r.text for r in few)
