"""A release is one transaction, whichever database keeps it: version, verdict, champion pointer and rollout change together."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import Engine, select, update

from vetrina.bundle.bundles import BundleStore
from vetrina.bundle.manifest import Bundle, TrainingRecord
from vetrina.core.errors import Conflict, NotFound
from vetrina.core.keys import BadSignature, Keys, load_or_create
from vetrina.core.rollout_types import PreReleaseStatistics, Rollout, RolloutDecision, RolloutEvidence
from vetrina.core.settings import ReleaseSettings
from vetrina.core.verdicts import Reason, ReleaseResult, Verdict
from vetrina.store import tables
from vetrina.store.database import open_store
from vetrina.store.operator_actions import rollback
from vetrina.store.registry import Registry, VersionRegistration
from vetrina.store.rollouts import NewRollout, RolloutStore, RunningRollout

NOW = 1_764_000_000.0
FIRST = "search-aaaaaaaaaaaa"
SECOND = "search-bbbbbbbbbbbb"
ROLL_BACK = RolloutDecision("roll back", (Reason("worse:clicks", False, "fewer clicks"),))
KEEP = RolloutDecision("promote", (Reason("cap", True, "not shown to be worse"),))


@pytest.fixture
def keys(tmp_path) -> Keys:
    """A shop's keys."""
    return load_or_create(tmp_path / "keys")


@pytest.fixture
def engine(url, keys) -> Iterator[Engine]:
    """An open store."""
    opened = open_store(url, keys)
    yield opened
    opened.dispose()


@pytest.fixture
def registry(engine, keys) -> Registry:
    """A registry in which "old" serves search."""
    opened_registry = Registry(engine, keys)
    opened_registry.promote("search", "old", (None, 0), "first", "first")
    return opened_registry


@pytest.fixture
def rollouts(engine, keys, registry) -> RolloutStore:
    """The rollouts of the same store."""
    return RolloutStore(engine, keys, registry)


def registration(registry: Registry, version: str, outcome: str = "promoted") -> VersionRegistration:
    """A version that passed the gate."""
    bundle = Bundle(version.removeprefix("search-"), "search", {})
    verdict = Verdict(f"verdict-{version}", bundle.version, None, "pass", (), 0.01)
    release = ReleaseResult(bundle.version, "search", "live", outcome, verdict.id, "a test")
    return VersionRegistration(bundle, bundle, verdict, release, "snapshot", "recipe", registry.champion("search"))


def new_rollout(made: VersionRegistration, kind: str, champion: str = "old") -> NewRollout:
    """The canary or the watch of a version."""
    shares = (0.9,) if kind == "watch" else (0.1, 0.5)
    version = made.bundle.version
    rollout = Rollout(f"of-{version}", "search", version, champion, "salt", NOW, NOW, shares, step=0, kind=kind)
    running = RunningRollout(rollout, PreReleaseStatistics(), RolloutEvidence(NOW), ReleaseSettings())
    return NewRollout(running, {"u": (0.1, 0.2, 0.3)})


def state_of(rollouts: RolloutStore, release: str) -> str:
    return next(row.state for row in rollouts.list_rollouts() if row.release == release)


def released(registry: Registry, rollouts: RolloutStore, version: str, kind: str = "watch") -> NewRollout:
    """Release a version with its rollout."""
    champion, _ = registry.champion("search")
    made = registration(registry, version, "promoted" if kind == "watch" else "testing")
    new = new_rollout(made, kind, champion or "")
    rollouts.release_version(made, new, NOW)
    return new


def test_a_version_is_promoted_and_watched_in_one_step_that_can_be_repeated(registry, rollouts):
    made = registration(registry, FIRST)
    new = new_rollout(made, "watch")
    for _ in range(2):
        rollouts.release_version(made, new, NOW)
    assert registry.champion("search") == (made.bundle.version, 2)
    assert rollouts.running()["search"].rollout == new.running.rollout
    assert rollouts.expected_outcomes(new.running.rollout.id, ["u"]) == {"u": (0.1, 0.2, 0.3)}
    rollouts.abort("search")
    rollouts.release_version(made, new, NOW)
    assert registry.champion("search")[0] == "old", "a step that is repeated later brings nothing back"
    assert rollouts.running() == {}


def test_what_fails_in_the_middle_leaves_no_promotion_without_a_watch(registry, rollouts):
    first = released(registry, rollouts, FIRST)
    made = registration(registry, SECOND)
    new = new_rollout(made, "watch", FIRST)
    stale = replace(made, expected_champion=("somebody else", 7))
    unwritable = replace(new, expected_outcomes={"u": (None, 0.0, 0.0)})
    for failing in ((stale, new), (made, unwritable)):
        with pytest.raises(Conflict):
            rollouts.release_version(*failing, NOW)
        assert registry.champion("search") == (FIRST, 2)
        assert rollouts.running()["search"].rollout == first.running.rollout
        assert rollouts.decision_log(first.running.rollout.id) == []
        with pytest.raises(NotFound):
            registry.get_version(SECOND)


def test_a_newer_candidate_replaces_what_is_under_test_and_a_returned_one_does_not(registry, rollouts):
    canary = released(registry, rollouts, FIRST, "canary")
    rollouts.release_version(registration(registry, "search-returned", "returned"), None, NOW)
    assert rollouts.running()["search"].rollout == canary.running.rollout

    watch = released(registry, rollouts, SECOND)
    assert state_of(rollouts, canary.running.rollout.id) == "returned"
    record = rollouts.decision_log(canary.running.rollout.id)[-1]
    assert record.decision.action == "return"
    assert record.decision.reasons[0].text == f"replaced by {SECOND}: {FIRST} is not called worse"
    assert watch.running.rollout.champion == "old"

    released(registry, rollouts, "search-cccccccccccc")
    assert state_of(rollouts, watch.running.rollout.id) == "promoted"
    assert rollouts.decision_log(watch.running.rollout.id)[-1].decision.reasons[0].passed
    assert rollouts.running()["search"].rollout.champion == SECOND
    assert registry.champion("search") == ("search-cccccccccccc", 3)


def test_a_watched_version_is_kept_as_it_is_or_gives_way_to_the_one_before(registry, rollouts):
    released(registry, rollouts, FIRST)
    running = rollouts.running()["search"]
    rollouts.record_decision(running, running.seen, KEEP, running.rollout, "promoted", NOW)
    assert registry.champion("search") == (FIRST, 2), "not promoted again"

    watch = released(registry, rollouts, SECOND)
    running = rollouts.running()["search"]
    rollouts.record_decision(running, running.seen, ROLL_BACK, running.rollout, "rolled back", NOW)
    assert registry.champion("search") == (FIRST, 4)
    entry = registry.promotions("search")[-1]
    assert (entry.old, entry.new, entry.why) == (SECOND, FIRST, "fewer clicks")
    with pytest.raises(Conflict):
        rollouts.record_decision(running, running.seen, ROLL_BACK, running.rollout, "rolled back", NOW)
    assert state_of(rollouts, watch.running.rollout.id) == "rolled back"


def test_of_a_release_and_a_rollback_at_once_the_pointer_follows_one_order(url, engine, keys, registry, rollouts):
    """Whichever comes first, there is never a promoted version without its watch, nor a watch of what does not serve."""
    stores = [open_store(url, keys) for _ in range(2)]
    registries = [Registry(store, keys) for store in stores]
    for number in range(5):
        released(registry, rollouts, f"search-{number}aaaaaaaaaaa")
        made = registration(registry, f"search-{number}bbbbbbbbbbb")
        new = new_rollout(made, "watch", f"search-{number}aaaaaaaaaaa")

        def release(made=made, new=new) -> None:
            try:
                RolloutStore(stores[0], keys, registries[0]).release_version(made, new, NOW)
            except Conflict:
                return

        def take_back() -> None:
            RolloutStore(stores[1], keys, registries[1]).abort("search")

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(release), pool.submit(take_back)]:
                done.result()
        running = rollouts.running().get("search")
        if running is not None:
            assert registry.champion("search")[0] == running.rollout.candidate
    for store in stores:
        store.dispose()


# The same on any database: on SQLite alone


@pytest.fixture
def local(tmp_path, keys) -> Iterator[tuple[Registry, RolloutStore, Engine]]:
    """Registry and rollouts on SQLite."""
    opened = open_store(f"sqlite:///{tmp_path / 'local.db'}", keys)
    opened_registry = Registry(opened, keys)
    opened_registry.promote("search", "old", (None, 0), "first", "first")
    yield opened_registry, RolloutStore(opened, keys, opened_registry), opened
    opened.dispose()


def test_a_rollout_of_an_earlier_version_is_a_canary(local):
    """0.1.0 stored no kind of rollout and no holdback."""
    registry, rollouts, engine = local
    new = released(registry, rollouts, FIRST, "canary")
    with engine.begin() as connection:
        body = msgspec.json.decode(connection.execute(select(tables.rollouts.c.body)).scalar_one())
        del body["rollout"]["kind"]
        del body["rules"]["holdback_share"]
        connection.execute(update(tables.rollouts).values(body=msgspec.json.encode(body).decode()))
    assert rollouts.running()["search"].rollout == new.running.rollout
    assert rollouts.list_rollouts()[0].kind == "canary"


def test_an_operator_takes_a_watched_version_back(local, tmp_path, keys):
    registry, rollouts, _ = local
    bundles = BundleStore(tmp_path / "bundles", keys)
    (tmp_path / "source").mkdir()
    before = bundles.pack(tmp_path / "source", "search", TrainingRecord(snapshot="1")).version
    registry.set_champion("search", before, "a test")
    watch = released(registry, rollouts, FIRST)
    signature = tmp_path / "bundles" / before / "signature"
    signed = signature.read_text()
    signature.write_text(signed[::-1])
    with pytest.raises(BadSignature):
        rollback(registry, rollouts, bundles, "search")
    assert registry.champion("search")[0] == FIRST
    signature.write_text(signed)
    gone_back = rollback(registry, rollouts, bundles, "search")
    assert (gone_back["version"], gone_back["from"], gone_back["changed"]) == (before, FIRST, True)
    assert registry.champion("search")[0] == before
    assert state_of(rollouts, watch.running.rollout.id) == "rolled back"


def test_a_pointer_that_an_operator_moved_during_a_watch_stays_where_it_is(local):
    registry, rollouts, _ = local
    watch = released(registry, rollouts, FIRST)
    running = rollouts.running()["search"]
    registry.set_champion("search", "by hand", "a test")
    with pytest.raises(Conflict, match="served by by hand"):
        rollouts.record_decision(running, running.seen, ROLL_BACK, running.rollout, "rolled back", NOW)
    assert rollouts.abort("search") is None, "there is no candidate to take out any more"
    assert registry.champion("search")[0] == "by hand"
    assert state_of(rollouts, watch.running.rollout.id) == "returned"
