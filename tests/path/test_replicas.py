"""Machines that have a shop's settings and keys alone: versions come from object storage, and nothing is trained there."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.bundle.object_storage import ObjectStorage
from vetrina.operate.controller import Controller
from vetrina.serve.app import create_app
from vetrina.simulate.fault_injection import inject_candidate
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.store import alert_log, operator_actions

SECONDS = 60
ADDRESS = "http://127.0.0.1:8337"


@pytest.fixture
def origin(pristine, tmp_path) -> Path:
    """The machine on which the shop was trained; its versions lie in object storage, too."""
    folder = Path(shutil.copytree(pristine[0], tmp_path / "origin"))
    shutil.move(folder / "store.db", tmp_path / "store.db")
    storage = f"file://{tmp_path / 'storage'}"
    settings = f'[store]\nurl = "sqlite:///{tmp_path / "store.db"}"\nbundles = "{storage}"\n'
    (folder / "vetrina.toml").write_text(settings)
    shop = Shop(folder)
    for version in shop.shop_context.registry.champions().values():
        bundle, files = shop.folder.bundles.unpack(version)
        ObjectStorage(storage).put(version, files, bundle.parts)
    shop.shop_context.engine.dispose()
    return folder


@pytest.fixture
def replica(origin, tmp_path) -> Path:
    """Another machine."""
    folder = tmp_path / "replica"
    folder.mkdir()
    shutil.copy(origin / "vetrina.toml", folder)
    shutil.copytree(origin / "keys", folder / "keys")
    return folder


def vetrina(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command as a process."""
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def until(done: Callable[[], bool]) -> None:
    """Wait, as long as it takes on a busy machine."""
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_settings_and_keys_are_all_that_a_replica_needs(replica):
    server, address = start_command(replica, "serve", "--port", "0")
    try:
        with httpx.Client(base_url=address, timeout=SECONDS) as client:
            wait_until_ready(client)
            assert client.post("/v1/search", json={"query": "red shoes"}).json()["items"]
            assert set(client.get("/readyz").json()["serving"]) == {"recommend", "search"}
    finally:
        server.terminate()
        server.wait(SECONDS)


def test_a_replica_without_the_keys_is_refused_and_makes_none_of_its_own(replica):
    shutil.rmtree(replica / "keys")
    for words in (("serve", "--port", "0"), ("operate",), ("run",)):
        done = vetrina(replica, *words)
        assert done.returncode == 2, done.stderr
        assert "copy keys/ from another machine" in done.stderr
        assert not (replica / "keys").exists()


def test_a_machine_without_the_lake_trains_nothing(replica):
    """It would train on the few events that are not in the lake yet, and release what came of it."""
    done = vetrina(replica, "run", "recommend")
    assert done.returncode == 2
    assert "train on the machine that has it" in done.stderr
    shop = Shop(replica)
    run = shop.shop_context.runs.enqueue("recommend", "a test")
    controller = Controller(shop.shop_context, lambda line: None)
    assert controller.tick()
    controller.close()
    assert shop.shop_context.runs.get_run(run).state == "queued", "it waits for a controller that can"
    assert any("has no lake/" in alert for alert in alert_log.sent_alerts(shop.shop_context.engine))
    shop.shop_context.engine.dispose()


def test_a_new_replica_can_go_back_without_object_storage(origin, replica, tmp_path):
    """It fetches the version before as well, which it never served."""
    shop = Shop(origin)
    before, _ = shop.shop_context.registry.champion("recommend")
    newer = inject_candidate(shop, "same")
    shop.shop_context.rollouts.abort("recommend")
    operator_actions.promote(shop.shop_context.registry, shop.folder.bundles, newer)
    with TestClient(create_app(replica), base_url=ADDRESS) as client:
        assert client.get("/readyz").json()["serving"]["recommend"] == newer
        until((replica / "bundles" / before / "manifest.json").exists)
        shutil.rmtree(tmp_path / "storage")
        token = {"authorization": f"Bearer {shop.folder.keys.api_token}"}
        rolled_back = client.post("/v1/scenarios/recommend/rollback", headers=token)
        assert rolled_back.json()["version"] == before, rolled_back.text
        until(lambda: client.get("/readyz").json()["serving"]["recommend"] == before)
        assert client.post("/v1/recommend", json={"user_id": "u001"}).json()["version"] == before
    shop.shop_context.engine.dispose()
