"""A shop of an earlier version: all of its data opens, bundles of another format are refused until a run makes new ones."""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from sqlalchemy import insert, select

from vetrina import Shop
from vetrina.bundle.manifest import Bundle
from vetrina.core import clock
from vetrina.core.errors import OtherFormat
from vetrina.core.verdicts import ReleaseResult, Verdict
from vetrina.core.version import BUNDLE_FORMAT
from vetrina.data import dataset
from vetrina.operate.embed_images import ImageEmbedding
from vetrina.operate.health import check_health
from vetrina.pipeline.run import Run
from vetrina.reports.version_page import write_version_page
from vetrina.serve.app import create_app
from vetrina.store import operator_actions
from vetrina.store.registry import VersionRegistration
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import exposures, users
from vetrina.store.upgrade import upgrade_shop

TESTS = Path(__file__).parents[1]
RELEASED = re.findall(r"^# vetrina (\S+) \(", (TESTS.parent / "CHANGELOG.md").read_text(), re.MULTILINE)
OLD_BUNDLE = "recommend-dec951db4fa7"
REFUSAL = f"{OLD_BUNDLE}: is a bundle of an older Vetrina; `vetrina run recommend` makes a new one"


def unpacked(version: str, into: Path) -> tuple[Path, dict]:
    """The shop of a release, its store upgraded, and what that release said of it."""
    with tarfile.open(TESTS / "fixtures" / f"shop-{version}.tar.gz") as file:
        file.extractall(into, filter="data")
    shop = ShopFolder(into / "shop")
    upgrade_shop(shop.store_url, shop.keys)
    return shop.root, json.loads((into / "expected.json").read_text())


@pytest.fixture
def old(tmp_path) -> Iterator[Shop]:
    """The shop of 0.1.0. What is tested depends neither on networks nor on how fast this machine is."""
    folder, _ = unpacked("0.1.0", tmp_path)
    settings = '[train]\nexclude_models = ["fusion", "sasrec", "gru"]\n[gate]\nlatency_ms = 1e6\n'
    (folder / "vetrina.toml").write_text(settings)
    opened_shop = Shop(folder)
    yield opened_shop
    opened_shop.shop_context.engine.dispose()


def test_there_is_a_shop_of_every_release():
    assert RELEASED
    assert {p.name for p in (TESTS / "fixtures").glob("*.tar.gz")} == {f"shop-{v}.tar.gz" for v in RELEASED}


@pytest.mark.parametrize("version", RELEASED)
def test_data_records_and_keys_are_all_there(version, tmp_path):
    folder, expected = unpacked(version, tmp_path)
    shop = Shop(folder)
    registry = shop.shop_context.registry
    keys = shop.folder.keys
    snapshot = shop.ingest()
    assert snapshot.rows == {"products": 8, "events": 300, "table": 200}
    catalogue = dataset.catalogue(snapshot)
    assert catalogue.product_ids.tolist() == [f"p{n:03d}" for n in range(8)]
    assert catalogue.titles[0] == "red shoes number 0"
    with shop.shop_context.engine.connect() as connection:
        pseudonym_by_user = {keys.unseal(row.sealed_id): row.pseudonym for row in connection.execute(select(users))}
    assert pseudonym_by_user == {f"u{n:03d}": keys.pseudonymise(f"u{n:03d}") for n in range(10)}
    assert [entry.new for entry in registry.promotions("recommend")] == expected["promoted"]
    for row in registry.list_versions():
        verdict = registry.get_version(row.version).verdict
        assert verdict is not None
        assert verdict.reasons
    assert "Verdict: pass" in write_version_page(shop, expected["promoted"][-1]).read_text()
    shop.shop_context.engine.dispose()


@pytest.mark.parametrize("version", RELEASED)
def test_bundles_answer_as_they_did_or_are_refused(version, tmp_path):
    folder, expected = unpacked(version, tmp_path)
    shop = Shop(folder)
    champion, _ = shop.shop_context.registry.champion("recommend")
    written = json.loads((folder / "bundles" / str(champion) / "manifest.json").read_text()).get("format", 1)
    if written == BUNDLE_FORMAT:
        answer = shop.recommend(product_ids=("p000", "p002"), placement="cart", limit=3)
        assert [i.product_id for i in answer.items] == expected["recommend"]
        assert shop.predict([[2.0, -2.0, "blue"]])[0]["probability"] == pytest.approx(expected["probability"], abs=0.02)
    else:
        with pytest.raises(OtherFormat, match="older Vetrina"):
            shop.recommend("u001")
    shop.shop_context.engine.dispose()


def test_the_command_line_refuses_an_old_bundle_in_one_line(old):
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(old.folder.root), "recommend", "u001"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"vetrina: {REFUSAL}"]


def test_the_service_takes_events_meanwhile_and_serves_what_a_run_makes(old):
    with old.shop_context.engine.begin() as connection:  # it answered until it was upgraded
        before = {"scenario": "recommend", "version": OLD_BUNDLE, "time": clock.now() - 60, "seconds": 0.01}
        connection.execute(
            insert(exposures).values(request_id="r1", arm="champion", request="{}", items="[]", **before)
        )
    assert check_health(old.shop_context, "recommend").retrain.retrain, "the controller would ask for a run by itself"
    assert ImageEmbedding(old.shop_context).batch() == 0, "nor does the controller use its image network"
    with TestClient(create_app(old.folder.root), base_url="http://127.0.0.1:8337") as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["refused"]["recommend"] == REFUSAL
        refused = client.post("/v1/recommend", json={"user_id": "u001"})
        assert (refused.status_code, refused.json()["error"]) == (503, REFUSAL)
        event = {"user_id": "u001", "type": "purchase", "product_id": "p002"}
        assert client.post("/v1/events", json=event).json() == {"accepted": 1, "new": 1}

        release = old.fit("recommend")["recommend"]
        assert release is not None
        assert (release.mode, release.outcome) == ("first", "promoted"), (
            "there is no old version to share shoppers with"
        )
        assert f"nothing to compare with: {OLD_BUNDLE}" in release.note
        verdict = old.shop_context.registry.get_verdict(release.verdict)
        assert verdict.champion is None
        assert any(OLD_BUNDLE in reason.text and not reason.evaluable for reason in verdict.reasons)

        client.app.state.service.follower.refresh()
        answer = client.post("/v1/recommend", json={"user_id": "u001"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == release.version
        assert client.get("/readyz").json()["refused"].keys() == {"predict"}
    shop_context = old.shop_context
    with pytest.raises(OtherFormat, match="older Vetrina"):
        operator_actions.rollback(shop_context.registry, shop_context.rollouts, old.folder.bundles, "recommend")
    assert shop_context.registry.champion("recommend")[0] == release.version


def test_what_was_made_in_another_format_is_made_anew(old, monkeypatch):
    snapshot = old.ingest()
    registry = old.shop_context.registry
    run = Run(old.shop_context, snapshot, "recommend")
    made = Bundle("f" * 64, "recommend", {})
    verdict = Verdict("v" * 8, made.version, None, "fail", (), None)
    returned = ReleaseResult(made.version, "recommend", "offline", "returned", verdict.id, "")
    seen = registry.champion("recommend")
    registry.register_version(
        VersionRegistration(made, made, verdict, returned, snapshot.digest, run.recipe_digest, seen)
    )
    assert run.is_done()
    monkeypatch.setattr("vetrina.pipeline.recipe.BUNDLE_FORMAT", BUNDLE_FORMAT + 1)
    assert not Run(old.shop_context, snapshot, "recommend").is_done()
