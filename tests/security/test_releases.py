"""Releases: evidence that somebody made up, rows that cannot be read, and going back."""

import math
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from vetrina.bundle.manifest import TrainingRecord
from vetrina.core.errors import BadInput
from vetrina.core.exposures import Exposure
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.rollout_types import CONVERSION, REVENUE, PreReleaseStatistics, Rollout, RolloutEvidence
from vetrina.core.settings import ReleaseSettings
from vetrina.pipeline.shop_context import ShopContext
from vetrina.release.decision import decide
from vetrina.release.evidence import statistics_by_outcome, unit_outcomes
from vetrina.release.pre_release import PreReleaseLog
from vetrina.store import tables
from vetrina.store.operator_actions import rollback
from vetrina.store.registry import Registry
from vetrina.store.rollouts import NewRollout, RolloutStore, RunningRollout
from vetrina.store.shop_folder import ShopFolder

pytestmark = pytest.mark.security

HOUR = 3_600.0
SHARE = 0.5  # of users that meet the candidate
CAP = 10.0  # the most that one user's purchases count
RULES = ReleaseSettings(steps=(SHARE,))
BEFORE = PreReleaseStatistics(
    units=10_000,
    answers=20_000,
    active={"clicks": 1_000, CONVERSION: 500},
    means={"clicks": 0.1, CONVERSION: 0.05, REVENUE: 1.0},
    revenue_cap=CAP,
)

# A server only warns of an overflow; without this the warning would be the failure that a test sees.
IGNORE_NUMPY = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def a_release(scenario: str = "recommend") -> RunningRollout:
    """A release at its only step, a day old."""
    began = time.time() - 24 * HOUR
    rollout = Rollout("r1", scenario, "candidate", "champion", "salt", began, began, (SHARE,), step=0)
    return RunningRollout(rollout, BEFORE, RolloutEvidence(began), RULES)


def an_answer(user: str, arm: str) -> Exposure:
    """A logged answer without items."""
    return Exposure(
        request_id=f"q-{user}", scenario="recommend", version="v1", time=0.0, arm=arm, seconds=0.01, user=user
    )


def a_purchase(user: str, price: float, quantity: float = 1.0) -> LoggedEvent:
    """A logged purchase."""
    return LoggedEvent(
        event_id="e",
        user=user,
        session=None,
        time=60.0,
        type="purchase",
        product_id="p",
        price=price,
        quantity=quantity,
    )


def evidence(users: int, *purchases: LoggedEvent) -> dict:
    """Sums of the outcomes of so many users, every other one with the candidate, after these purchases."""
    first = {f"u{number}": 0.0 for number in range(users)}
    answers = [an_answer(user, "canary" if number % 2 else "champion") for number, user in enumerate(first)]
    return statistics_by_outcome(unit_outcomes(first, answers, purchases, {}, HOUR), {}, BEFORE, SHARE)


@pytest.fixture
def rollouts(engine, keys) -> RolloutStore:
    """Releases in an empty store."""
    return RolloutStore(engine, keys, Registry(engine, keys))


def damage(engine) -> None:
    """Make the row of a release hold a null where a number belongs, as evidence that is not finite is written."""
    replaced = func.replace(tables.rollouts.c.body, '"revenue_cap":10.0', '"revenue_cap":null')
    with engine.begin() as connection:
        connection.execute(tables.rollouts.update().values(body=replaced))


# Evidence that somebody made up


def test_a_negative_price_counts_no_more_than_a_large_one():
    """S2: what one user adds to the revenue of an arm is bounded below as it is above."""
    champion, _ = evidence(2, a_purchase("u0", -1e6))[REVENUE].totals
    assert champion >= -CAP


@IGNORE_NUMPY
def test_a_decision_is_made_whatever_one_price_is():
    """S2: no single purchase keeps the controller from deciding about a release."""
    purchases = [a_purchase(f"u{number}", 5.0) for number in range(0, 3_000, 3)]
    outcomes = evidence(3_000, *purchases, a_purchase("u1", -1e300))
    release = a_release()
    decision = decide(release.rollout, BEFORE, RolloutEvidence(HOUR, outcomes), RULES, time.time())
    assert decision.action in ("stay", "roll back")


@IGNORE_NUMPY
def test_the_usual_level_is_finite_whatever_one_price_is():
    """S2: what is fixed before a release starts is finite, whatever was bought."""
    answers = [an_answer(f"u{number}", "champion") for number in range(10)]
    purchases = [a_purchase("u1", 1e308, 1e308), a_purchase("u2", 5.0)]
    log = PreReleaseLog("recommend", "v1", RULES, (-HOUR, 2 * HOUR), 1.0)
    log.add_answers(answers)
    log.add_events(purchases, {})
    before, expected = log.statistics()
    assert math.isfinite(before.means[REVENUE])
    assert all(math.isfinite(value) for values in expected.values() for value in values)


@IGNORE_NUMPY
def test_evidence_that_is_not_finite_does_not_make_a_release_unreadable(rollouts):
    """S2: evidence is written only if it can be read again."""
    rollouts.start(NewRollout(a_release(), {}))
    outcomes = evidence(2, a_purchase("u0", -1e308, 1e308))
    with suppress(BadInput, ValueError):
        rollouts.record_evidence(rollouts.running()["recommend"], RolloutEvidence(HOUR, outcomes))
    assert rollouts.running()["recommend"].rollout.id == "r1"


# Rows that cannot be read


def test_an_unreadable_release_does_not_hide_the_others(engine, rollouts):
    """S2: a release that cannot be read is set aside; releases of other scenarios are followed."""
    rollouts.start(NewRollout(a_release("search"), {}))
    damage(engine)
    other = a_release("recommend")
    rollouts.start(NewRollout(replace(other, rollout=replace(other.rollout, id="r2")), {}))
    assert "recommend" in rollouts.running()


def test_releases_are_listed_although_one_cannot_be_read(engine, rollouts):
    """S2: GET /v1/releases lists the others."""
    rollouts.start(NewRollout(a_release(), {}))
    damage(engine)
    rollouts.list_rollouts()


def test_an_unreadable_release_can_be_rolled_back(tmp_path):
    """S2: `vetrina rollback` ends a release whatever its row holds."""
    shop_context = ShopContext(ShopFolder(tmp_path))
    shop_context.rollouts.start(NewRollout(a_release(), {}))
    damage(shop_context.engine)
    rollback(shop_context.registry, shop_context.rollouts, shop_context.folder.bundles, "recommend")
    with shop_context.engine.connect() as connection:
        states = connection.execute(select(tables.rollouts.c.state)).scalars().all()
    shop_context.engine.dispose()
    assert states == ["rolled back"]


def test_a_server_starts_beside_an_unreadable_release(own_service):
    """S2: a release that cannot be read leaves the champion serving, and what else changes is followed."""
    own_service.rollouts.start(NewRollout(a_release(), {}))
    damage(own_service.engine)
    own_service.follower.refresh()
    assert "recommend" in own_service.champions.all()


# Going back


def packed(shop: ShopFolder, name: str) -> str:
    """The version of a bundle that holds nothing but its name: enough for the pointer."""
    source = shop.root / name
    source.mkdir()
    (source / "name").write_text(name)
    return shop.bundles.pack(source, "recommend", TrainingRecord(snapshot=name)).version


def test_a_rollback_that_is_repeated_does_not_bring_the_bad_version_back(tmp_path):
    """S20: a version that was rolled back is none to go back to; a second rollback changes nothing or is refused."""
    shop_context = ShopContext(ShopFolder(tmp_path))
    good, bad = (packed(shop_context.folder, name) for name in ("good", "bad"))
    for version in (good, bad):
        shop_context.registry.set_champion("recommend", version, "promoted by hand")
    for _ in range(2):
        with suppress(BadInput):
            rollback(shop_context.registry, shop_context.rollouts, shop_context.folder.bundles, "recommend")
    champion, _ = shop_context.registry.champion("recommend")
    shop_context.engine.dispose()
    assert champion == good


def test_a_rollback_over_http_may_be_sent_again(own_client, token):
    """S20: a client that sends the same rollback again after a timeout does not undo it."""
    registry = own_client.app.state.service.registry
    good, _ = registry.champion("recommend")
    registry.set_champion("recommend", packed(own_client.app.state.service.folder, "bad"), "promoted by hand")
    for _ in range(2):
        own_client.post("/v1/scenarios/recommend/rollback", headers=token)
    champion, _ = registry.champion("recommend")
    assert champion == good


def test_a_rollback_that_names_the_version_it_leaves_changes_nothing_once_that_is_left(own_client, token):
    """S20: an operator who is late does not take the version back that a colleague has put in place."""
    registry = own_client.app.state.service.registry
    good, _ = registry.champion("recommend")
    bad = packed(own_client.app.state.service.folder, "bad")
    registry.set_champion("recommend", bad, "promoted by hand")
    path = f"/v1/scenarios/recommend/rollback?from={bad}"
    first, second = (own_client.post(path, headers=token).json() for _ in range(2))
    assert (first["version"], first["from"], first["changed"]) == (good, bad, True)
    assert (second["version"], second["from"], second["changed"]) == (good, bad, False)
    assert own_client.post("/v1/scenarios/recommend/rollback?from=other", headers=token).status_code == 404


def test_a_rollback_that_took_a_candidate_out_is_repeated_without_harm_to_the_champion(tmp_path):
    """S20: the second of two rollbacks without a name does not reach the champion behind the candidate."""
    shop_context = ShopContext(ShopFolder(tmp_path))
    versions = [packed(shop_context.folder, name) for name in ("first", "second")]
    for version in versions:
        shop_context.registry.set_champion("recommend", version, "promoted by hand")
    running = a_release()
    rollout = replace(running.rollout, champion=versions[1], started=time.time())
    shop_context.rollouts.start(NewRollout(replace(running, rollout=rollout), {}))
    parts = (shop_context.registry, shop_context.rollouts, shop_context.folder.bundles)
    changed = [rollback(*parts, "recommend")["changed"] for _ in range(2)]
    champion, _ = shop_context.registry.champion("recommend")
    shop_context.engine.dispose()
    assert changed == [True, False]
    assert champion == versions[1]
