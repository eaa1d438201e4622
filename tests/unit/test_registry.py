"""The pointer: compare-and-swap, decided once, signed."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import update

from vetrina.bundle import bundles
from vetrina.bundle.bundles import BundleStore
from vetrina.bundle.manifest import Bundle, TrainingRecord
from vetrina.core.errors import BadInput, Conflict, NotFound, OtherFormat
from vetrina.core.evaluation_data import MetricValues
from vetrina.core.keys import BadSignature, load_or_create
from vetrina.core.verdicts import ReleaseOutcome, ReleaseResult, Verdict, VerdictOutcome
from vetrina.gate.gate import check_non_inferiority, check_slices
from vetrina.store import operator_actions
from vetrina.store.database import open_store
from vetrina.store.registry import Registry, ScenarioVerdict, VersionRegistration
from vetrina.store.rollouts import RolloutStore
from vetrina.store.tables import promotions, schema_version


@pytest.fixture
def registry(tmp_path):
    """A registry on a fresh store."""
    keys = load_or_create(tmp_path / "keys")
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", keys)
    yield Registry(engine, keys), engine
    engine.dispose()


def test_promotion_happens_once_and_only_from_what_was_seen(registry):
    versions, _ = registry
    assert versions.promote("search", "v1", (None, 0), "d1", "first")
    assert not versions.promote("search", "v1", (None, 0), "d1", "first"), "the same decision again does nothing"
    with pytest.raises(Conflict):
        versions.promote("search", "v2", (None, 0), "d2", "stale")
    assert versions.promote("search", "v2", ("v1", 1), "d2", "better")
    assert versions.champion("search") == ("v2", 2)
    assert versions.previous_champion("search") == "v1"
    assert [entry.new for entry in versions.promotions("search")] == ["v1", "v2"]


def test_a_version_is_found_by_what_it_is(registry):
    versions, _ = registry
    for version, decision in (("v1", "d1"), ("v2", "d2")):
        versions.promote("search", version, versions.champion("search"), decision, "better")
    assert versions.find_reference("search@champion") == "v2"
    assert versions.find_reference("search@previous") == "v1"
    assert versions.find_reference("search-0014c957a6fb") == "search-0014c957a6fb"
    with pytest.raises(NotFound, match="is no version"):
        versions.find_reference("search@newest")
    with pytest.raises(BadInput, match="use @champion, @previous or @newest"):
        versions.find_reference("search@latest")


def test_a_changed_log_is_noticed(registry):
    versions, engine = registry
    versions.promote("search", "v1", (None, 0), "d1", "first")
    with engine.begin() as connection:
        connection.execute(update(promotions).values(body='{"to":"evil"}'))
    with pytest.raises(BadSignature):
        versions.promotions("search")


def test_a_store_of_a_later_version_is_refused(registry, tmp_path):
    _, engine = registry
    with engine.begin() as connection:
        connection.execute(update(schema_version).values(version=99))
    with pytest.raises(BadInput, match="later Vetrina"):
        open_store(f"sqlite:///{tmp_path / 'store.db'}", load_or_create(tmp_path / "keys"))


def test_bundles_share_parts_and_notice_any_change(tmp_path):
    keys = load_or_create(tmp_path / "keys")
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"one")
    (source / "deep" / "b").write_bytes(b"one")
    bundle = BundleStore(tmp_path / "bundles", keys).pack(source, "search", TrainingRecord(snapshot="1"))
    assert len(list((tmp_path / "bundles/parts").iterdir())) == 1
    opened, folder = BundleStore(tmp_path / "bundles", keys).unpack(bundle.version, check_parts=True)
    assert opened == bundle
    assert (folder / "deep" / "b").read_bytes() == b"one"
    assert BundleStore(tmp_path / "bundles", keys).pack(source, "search", TrainingRecord(snapshot="1")) == bundle
    (folder / "a").write_bytes(b"two")
    with pytest.raises(BadSignature, match="part a"):
        BundleStore(tmp_path / "bundles", keys).unpack(bundle.version, check_parts=True)
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"search", b"public"))
    with pytest.raises(BadSignature):
        BundleStore(tmp_path / "bundles", keys).unpack(bundle.version)


def test_a_bundle_of_another_vetrina_is_refused_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    stored = BundleStore(tmp_path / "bundles", load_or_create(tmp_path / "keys"))
    for change, age in ((-1, "an older"), (1, "a newer")):
        with monkeypatch.context() as patched:
            patched.setattr(bundles, "BUNDLE_FORMAT", bundles.BUNDLE_FORMAT + change)
            other = stored.pack(tmp_path / "source", "search", TrainingRecord())
        refused = f"^{other.version}: is a bundle of {age} Vetrina; `vetrina run search` makes a new one$"
        with pytest.raises(OtherFormat, match=refused):
            stored.unpack(other.version)


def test_going_back_to_a_bundle_that_does_not_open_leaves_the_pointer_alone(registry, tmp_path):
    versions, engine = registry
    keys = load_or_create(tmp_path / "keys")
    stored = BundleStore(tmp_path / "bundles", keys)
    rollouts = RolloutStore(engine, keys, versions)
    (tmp_path / "source").mkdir()
    first, second = (stored.pack(tmp_path / "source", "search", TrainingRecord(snapshot=n)).version for n in (1, 2))
    versions.set_champion("search", first, "a test")
    versions.set_champion("search", second, "a test")
    signature = tmp_path / "bundles" / first / "signature"
    signed = signature.read_text()
    signature.write_text(signed[::-1])
    with pytest.raises(BadSignature):
        operator_actions.rollback(versions, rollouts, stored, "search")
    assert versions.champion("search")[0] == second
    signature.write_text(signed)
    assert operator_actions.rollback(versions, rollouts, stored, "search")["version"] == first
    assert versions.champion("search")[0] == first


def test_ids_seal_and_pseudonyms_hold_still(tmp_path):
    keys = load_or_create(tmp_path / "keys")
    assert keys.unseal(keys.seal("anna@example.org")) == "anna@example.org"
    assert keys.pseudonymise("anna") == load_or_create(tmp_path / "keys").pseudonymise("anna")
    assert keys.pseudonymise("anna") != load_or_create(tmp_path / "other").pseudonymise("anna")
    with pytest.raises(BadSignature):
        keys.unseal(keys.seal("x")[:-1] + b"0")
    assert (tmp_path / "keys" / "token").stat().st_mode & 0o077 == 0


def test_a_run_is_concluded_whole_or_not_at_all(registry):
    versions, _ = registry
    bundle = Bundle("f" * 64, "search", {})
    verdict = Verdict("v" * 8, bundle.version, None, "pass", (), 0.01)
    promoted = ReleaseResult(bundle.version, "search", "first", "promoted", verdict.id, "")
    stale = VersionRegistration(bundle, bundle, verdict, promoted, "s", "r", ("someone", 7))
    with pytest.raises(Conflict):
        versions.register_version(stale)
    assert versions.find_version("search", "s", "r") is None, "what was not promoted must be tried again"
    with pytest.raises(NotFound):
        versions.get_verdict(verdict.id)
    for _ in range(2):
        versions.register_version(replace(stale, expected_champion=(None, 0)))
    assert versions.champion("search") == (bundle.version, 1)
    assert len(versions.promotions("search")) == 1


def test_the_newest_verdict_is_on_a_version_of_that_scenario(registry, monkeypatch):
    versions, _ = registry

    def register(scenario: str, name: str, outcome: VerdictOutcome, release: ReleaseOutcome, now: float) -> Verdict:
        monkeypatch.setattr("vetrina.core.clock.now", lambda: now)
        bundle = Bundle(name, scenario, {})
        verdict = Verdict(f"verdict of {name}", bundle.version, None, outcome, (), None)
        result = ReleaseResult(bundle.version, scenario, "offline", release, verdict.id, "")
        versions.register_version(
            VersionRegistration(bundle, bundle, verdict, result, "s", name, versions.champion(scenario))
        )
        return verdict

    with pytest.raises(NotFound, match="has no verdict yet"):
        versions.newest_verdict("search")
    good = register("search", "good", "pass", "promoted", 1.0)
    bad = register("search", "bad", "fail", "returned", 2.0)
    register("recommend", "other", "pass", "promoted", 3.0)
    monkeypatch.setattr("vetrina.core.clock.now", lambda: 4.0)
    versions.record_verdict(Verdict("before a fallback", "judged file", None, "fail", (), None))
    assert versions.newest_verdict("search") == ScenarioVerdict(
        scenario="search",
        version=bad.candidate,
        outcome="fail",
        release="returned",
        champion=good.candidate,
        time=2.0,
        verdict=bad,
    )


def scores(values, **inside) -> MetricValues:
    """Scores with slices."""
    return MetricValues("m", tuple(map(str, range(len(values)))), np.array(values), inside)


def test_the_gate_passes_equal_refuses_worse_and_unsure():
    rng = np.random.default_rng(0)
    base = rng.random(2_000)
    assert check_non_inferiority("champion", "c", scores(base), scores(base), 0.02).passed
    assert not check_non_inferiority("champion", "c", scores(base * 0.9), scores(base), 0.02).passed
    few = rng.random(20)
    assert not check_non_inferiority("champion", "c", scores(rng.permutation(few)), scores(few), 0.02).passed


def test_a_slice_vetoes_only_when_shown_worse():
    rng = np.random.default_rng(0)
    base = rng.random(1_000)
    part = np.arange(1_000) < 300
    worse = np.where(part, base - 0.1, base)
    assert not all(r.passed for r in check_slices(scores(worse, new=part), scores(base), 200))
    assert all(r.passed for r in check_slices(scores(base + rng.normal(0, 0.01, 1_000), new=part), scores(base), 200))
    assert check_slices(scores(worse, new=part), scores(base), 500) == [], "too few units have no voice"
