"""Candidates among shoppers whose taste is known: the whole way over HTTP, with days that pass in seconds."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import shops
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.rollout_types import INTERLEAVED, INTERLEAVING, SHADOW, GuardrailLimits, RolloutDecision
from vetrina.core.verdicts import Reason
from vetrina.pipeline.rollout_controller import gather_evidence, reconcile_rollout, start_rollout
from vetrina.release.decision import decide
from vetrina.serve.app import create_app
from vetrina.simulate.fault_injection import inject_candidate, inject_refresh, serve_popularity_baseline
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World
from vetrina.store import exposure_queries
from vetrina.store.rollouts import RunningRollout

pytestmark = pytest.mark.simulation

WORLD = World(products=120, users=1_500, days=15)
MINUTE = 60.0
SETTINGS = """
[train]
exclude_models = ["sasrec", "gru", "mlp", "dcn"]
[release]
steps = [0.2, 0.5]
min_step_minutes = 30
attribution_window_minutes = 10
cap_days = 0.4
holdback_share = 0.5
min_shadow_answers = 20
interleaving_share = 0
min_step_units = 20
min_units_per_arm = 60
min_active_units_per_arm = 10
margin_clicks = 0.1
margin_slow = 0.05
candidate_timeout_ms = 120
"""


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = WORLD.now + 3_600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Path:
    """The shop of the known world, trained once."""
    folder = tmp_path_factory.mktemp("world")
    files = write_input_files(WORLD, folder / "files")
    shop = Shop(shops.without_networks(folder / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("recommend", "search")
    shop.shop_context.engine.dispose()
    (folder / "shop" / "vetrina.toml").write_text(SETTINGS)
    return folder / "shop"


@pytest.fixture
def now(monkeypatch) -> Clock:
    """The only clock of the process."""
    fake_clock = Clock()
    monkeypatch.setattr(clock, "now", fake_clock)
    return fake_clock


@pytest.fixture
def shop(known, tmp_path, now) -> Iterator[Shop]:
    """A copy for each test."""
    copied_shop = Shop(shutil.copytree(known, tmp_path / "shop"))
    yield copied_shop
    copied_shop.shop_context.engine.dispose()


@pytest.fixture
def client(shop) -> Iterator[TestClient]:
    """The service."""
    with TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as opened_client:
        yield shops.as_server(opened_client)


def live(
    shop: Shop, client: TestClient, now: Clock, hours: float, visits: int = 100, trouble: str = ""
) -> SimulatedUsers:
    """Shoppers come, the controller looks every ten minutes, until the release ends or the time is up."""
    shoppers = SimulatedUsers(WORLD, client, now, seed=int(now.now), fault=trouble)
    follower = client.app.state.service.follower
    for _ in range(int(hours * 6)):
        follower.refresh()
        for _ in range(visits):
            now.now += 10 * MINUTE / visits
            shoppers.visit()
        client.post("/v1/events", json=[{"user_id": "u0000", "type": "view", "timestamp": now()}])  # the log is written
        under_way = shop.shop_context.rollouts.running().get("recommend")
        if under_way is None:
            break
        reconcile_rollout(shop.shop_context, under_way, now())
    assert shoppers.counts.failed_requests == 0, "no shopper ever meets a failed answer"
    return shoppers


def state(shop: Shop) -> str:
    return shop.shop_context.rollouts.list_rollouts()[0].state


def taken_again(shop: Shop) -> None:
    """Every decision on record follows from the evidence on record."""
    log = shop.shop_context.rollouts.decision_log(shop.shop_context.rollouts.list_rollouts()[0].release)
    assert log
    for entry in log:
        if entry.decision.reasons[0].code not in ("by-hand", "champion-changed"):
            again = decide(entry.rollout, entry.before, entry.seen, entry.rules, entry.now)
            assert again.action == entry.decision.action


def test_a_better_candidate_is_promoted_without_a_hand(shop, client, now):
    serve_popularity_baseline(shop)
    candidate = inject_candidate(shop, "better")
    live(shop, client, now, hours=9)
    assert state(shop) == "promoted"
    assert shop.shop_context.registry.champion("recommend")[0] == candidate
    promotions = [e for e in shop.shop_context.registry.promotions("recommend") if e.new == candidate]
    assert [e.decision.split(":")[0] for e in promotions] == ["verdict", "canary"]
    client.app.state.service.follower.refresh()
    assert client.post("/v1/recommend", json={"user_id": "u0001"}).json()["version"] == candidate
    taken_again(shop)


def test_a_worse_candidate_is_rolled_back(shop, client, now):
    champion, _ = shop.shop_context.registry.champion("recommend")
    inject_candidate(shop, "worse")
    live(shop, client, now, hours=9)
    assert state(shop) == "rolled back"
    assert shop.shop_context.registry.champion("recommend")[0] == champion
    taken_again(shop)


@pytest.mark.parametrize("kind", ["error", "shape", "hang"])
def test_a_candidate_that_fails_disturbs_no_shopper_and_goes(shop, client, now, kind):
    candidate = inject_candidate(shop, kind)
    move_to_canary(shop, now)
    traffic = live(shop, client, now, hours=4)
    assert state(shop) == "rolled back"
    assert candidate not in traffic.counts.answers
    taken_again(shop)


def test_a_candidate_that_fails_in_the_shadow_never_answers(shop, client, now):
    candidate = inject_candidate(shop, "error")
    traffic = live(shop, client, now, hours=4)
    assert state(shop) == "rolled back"
    assert candidate not in traffic.counts.answers
    assert (
        shop.shop_context.rollouts.decision_log(shop.shop_context.rollouts.list_rollouts()[0].release)[-1].rollout.step
        == SHADOW
    )


def test_a_candidate_that_hangs_in_the_shadow_does_not_hold_up_the_next(shop, client, now):
    inject_candidate(shop, "hang")
    live(shop, client, now, hours=0.5, visits=20)
    shop.shop_context.rollouts.abort("recommend")
    inject_candidate(shop, "same")
    live(shop, client, now, hours=1.5)
    assert (
        shop.shop_context.rollouts.decision_log(shop.shop_context.rollouts.list_rollouts()[0].release)[
            0
        ].decision.action
        == "advance"
    )


def test_a_slow_candidate_is_rolled_back(shop, client, now):
    (shop.folder.root / "vetrina.toml").write_text(
        SETTINGS.replace("candidate_timeout_ms = 120", "candidate_timeout_ms = 2000")
    )
    inject_candidate(shop, "slow")
    move_to_canary(shop, now)
    live(shop, client, now, hours=2, visits=20)
    assert state(shop) == "rolled back"


@pytest.mark.parametrize("trouble", ["dead-feed", "bots", "no-one"])
def test_without_a_log_to_believe_nothing_is_promoted(shop, client, now, trouble):
    serve_popularity_baseline(shop)
    live(shop, client, now, hours=3)  # as usual, with a log as it should be
    inject_candidate(shop, "better")
    if trouble == "no-one":
        quiet(shop, now)
    else:
        live(shop, client, now, hours=10, visits=20, trouble=trouble)
    assert state(shop) in ("returned", "rolled back")


def test_a_person_takes_the_candidate_out_and_a_second_release_waits(shop, client, now):
    champion, _ = shop.shop_context.registry.champion("recommend")
    candidate = inject_candidate(shop, "worse")
    with pytest.raises(Conflict, match="under way"):
        start_rollout(shop.shop_context, "recommend", "other", champion)
    token = {"authorization": f"Bearer {shop.folder.keys.api_token}"}
    answer = client.post("/v1/scenarios/recommend/rollback", headers=token).json()
    assert answer["from"] == candidate
    assert answer["changed"]
    assert state(shop) == "rolled back"
    assert shop.shop_context.registry.champion("recommend")[0] == champion
    release = client.get("/v1/releases", headers=token).json()[0]
    decisions = client.get(f"/v1/releases/{release['release']}", headers=token).json()
    assert decisions[0]["decision"]["reasons"][0]["code"] == "by-hand"
    assert client.get("/v1/releases/none", headers=token).status_code == 404


def test_mixed_lists_show_a_worse_candidate_before_it_meets_anybody_alone(shop, now):
    mixed = SETTINGS.replace("interleaving_share = 0\n", "interleaving_share = 0.5\ninterleaving_min_units = 1000\n")
    (shop.folder.root / "vetrina.toml").write_text(mixed)
    with TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as opened:
        client = shops.as_server(opened)
        fresh = Shop(shop.folder.root)
        candidate = inject_candidate(fresh, "worse")
        traffic = live(fresh, client, now, hours=8, visits=200)
        assert state(fresh) == "rolled back"
        log = fresh.shop_context.rollouts.decision_log(fresh.shop_context.rollouts.list_rollouts()[0].release)
        assert log[-1].decision.reasons[0].code == "screen"
        assert log[-1].seen.screen.losses > 2 * log[-1].seen.screen.wins
        assert candidate not in traffic.counts.answers
        exposures = exposure_queries.list_exposures(fresh.shop_context.engine, "recommend", 0, now(), with_items=True)
        interleaved = [exposure for exposure in exposures if exposure.arm == INTERLEAVED]
        assert len(interleaved) > 100
        teams = Counter(item.team for exposure in interleaved for item in exposure.items)
        assert teams["champion"] == pytest.approx(teams["canary"], rel=0.15)
        taken_again(fresh)
        fresh.shop_context.engine.dispose()


def test_mixed_lists_let_an_equal_candidate_pass_and_survive_one_that_fails(shop, now):
    mixed = SETTINGS.replace("interleaving_share = 0\n", "interleaving_share = 0.5\ninterleaving_max_hours = 1\n")
    (shop.folder.root / "vetrina.toml").write_text(mixed)
    with TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as opened:
        client = shops.as_server(opened)
        fresh = Shop(shop.folder.root)
        inject_candidate(fresh, "same")
        live(fresh, client, now, hours=2.5)
        actions = [
            e.decision.action
            for e in fresh.shop_context.rollouts.decision_log(fresh.shop_context.rollouts.list_rollouts()[0].release)
        ]
        assert actions[:2] == ["advance", "advance"], "out of the shadow, out of the screen"
        fresh.shop_context.rollouts.abort("recommend")
        inject_candidate(fresh, "error")
        running = fresh.shop_context.rollouts.running()["recommend"]
        at_screen = replace(running.rollout, step=INTERLEAVING, stepped=now())
        decision = RolloutDecision("advance", (Reason("test", True, "past the shadow"),))
        fresh.shop_context.rollouts.record_decision(
            running, replace(running.seen, until=now()), decision, at_screen, "running", now()
        )
        live(fresh, client, now, hours=3)
        assert state(fresh) == "rolled back"
        last = fresh.shop_context.rollouts.decision_log(fresh.shop_context.rollouts.list_rollouts()[0].release)[-1]
        assert "screen-faults" in [r.code for r in last.decision.reasons]
        fresh.shop_context.engine.dispose()


def test_another_champion_meanwhile_ends_the_release(shop, now):
    inject_candidate(shop, "worse")
    under_way = shop.shop_context.rollouts.running()["recommend"]
    shop.shop_context.registry.set_champion("recommend", under_way.rollout.candidate, "by hand")
    assert reconcile_rollout(shop.shop_context, under_way, now()).action == "return"
    assert state(shop) == "returned"


def test_of_two_controllers_one_moves_a_release(shop, now):
    inject_candidate(shop, "worse")
    under_way = shop.shop_context.rollouts.running()["recommend"]
    reconcile_rollout(shop.shop_context, under_way, now())
    with pytest.raises(Conflict):
        reconcile_rollout(shop.shop_context, under_way, now())


# Refreshes: promoted first, then watched


def released(shop: Shop, client: TestClient, now: Clock, kind: str, scenario: str = "recommend") -> str:
    """Release a refresh while users are there; returns its version, which serves from then on."""
    live(shop, client, now, hours=1)
    release = inject_refresh(shop, kind, scenario)
    assert (release.mode, release.outcome, release.kind, release.is_watched) == ("live", "promoted", "refresh", True)
    assert shop.shop_context.registry.champion(scenario)[0] == release.version
    return release.version


def test_a_worse_refresh_is_promoted_watched_and_rolled_back(shop, client, now):
    before, _ = shop.shop_context.registry.champion("recommend")
    version = released(shop, client, now, "worse")
    users = live(shop, client, now, hours=9)
    assert state(shop) == "rolled back"
    assert shop.shop_context.registry.champion("recommend")[0] == before
    share = users.counts.answers[version] / (users.counts.answers[version] + users.counts.answers[before])
    assert share == pytest.approx(0.5, abs=0.1), "both versions answer their share"
    client.app.state.service.follower.refresh()
    assert client.post("/v1/recommend", json={"user_id": "u0001"}).json()["version"] == before
    taken_again(shop)


def test_an_equal_refresh_stays(shop, client, now):
    version = released(shop, client, now, "same")
    live(shop, client, now, hours=10, visits=20)
    assert state(shop) == "promoted"
    assert shop.shop_context.registry.champion("recommend")[0] == version
    taken_again(shop)


def test_products_that_arrive_during_a_watch_are_found_in_both_versions(shop, client, now):
    before, _ = shop.shop_context.registry.champion("search")
    version = released(shop, client, now, "same", "search")
    follower = client.app.state.service.follower
    token = {"authorization": f"Bearer {shop.folder.keys.api_token}"}
    product = {"title": "Zebra rug", "category": "rugs", "price": 10.0}
    assert client.put("/v1/products/zebra", json=product, headers=token).status_code == 200
    follower.refresh()
    answered = set()
    for number in range(20):
        answer = client.post("/v1/search", json={"query": "zebra rug", "user_id": f"u{number:04d}"}).json()
        answered.add(answer["version"])
        assert answer["items"][0]["product_id"] == "zebra"
    assert answered == {version, before}


@pytest.mark.parametrize("kind", ["error", "shape"])
def test_a_refresh_that_fails_disturbs_no_user_and_goes(shop, client, now, kind):
    version = released(shop, client, now, kind)
    users = live(shop, client, now, hours=4)  # which asserts that no request failed
    assert version not in users.counts.answers, "the version before answered instead"
    assert state(shop) == "rolled back"
    taken_again(shop)


def test_a_version_that_failed_to_load_is_not_compared(shop, client, now):
    """A worker that cannot open the watched version serves the one before to everybody, outside of the experiment."""
    before, _ = shop.shop_context.registry.champion("recommend")
    version = released(shop, client, now, "same")
    signature = shop.folder.bundles.folder / version / "signature"
    signature.write_text(signature.read_text()[::-1])
    follower = client.app.state.service.follower
    for _ in range(2):
        follower.refresh()
    for number in range(10):
        assert client.post("/v1/recommend", json={"user_id": f"u{number:04d}"}).json()["version"] == before
    client.post("/v1/events", json=[{"user_id": "u0000", "type": "view", "timestamp": now()}])
    watch = shop.shop_context.rollouts.running()["recommend"]
    assert gather_evidence(shop.shop_context, watch, now()).steps[0].units == (0, 0)


def test_a_release_that_was_interrupted_after_it_was_recorded_is_not_repeated(shop, client, now, monkeypatch):
    """A process killed at the end of the step repeats it: the same result, and what was rolled back meanwhile stays away."""
    live(shop, client, now, hours=1)
    before, _ = shop.shop_context.registry.champion("recommend")
    monkeypatch.setattr(shop.shop_context, "run_id", shop.shop_context.runs.enqueue("recommend", "a test"))
    first = inject_refresh(shop, "same")
    assert first.is_watched
    shop.shop_context.rollouts.abort("recommend")
    registry = shop.shop_context.registry
    assert registry.champion("recommend")[0] == before
    assert inject_refresh(shop, "same") == first
    assert registry.champion("recommend")[0] == before
    assert shop.shop_context.rollouts.running() == {}


def move_to_canary(shop: Shop, now: Clock) -> None:
    """Past the shadow, which would stop most of what is planted here."""
    running: RunningRollout = shop.shop_context.rollouts.running()["recommend"]
    seen = gather_evidence(shop.shop_context, running, now())
    decision = decide(running.rollout, running.before, seen, running.rules, now())
    moved = replace(running.rollout, step=1, stepped=now(), limits=GuardrailLimits(0.001, 0.015))
    shop.shop_context.rollouts.record_decision(running, replace(seen, until=now()), decision, moved, "running", now())


def quiet(shop: Shop, now: Clock) -> None:
    """Nobody comes until the cap."""
    for _ in range(30):
        now.now += 3_600.0
        if under_way := shop.shop_context.rollouts.running().get("recommend"):
            reconcile_rollout(shop.shop_context, under_way, now())
