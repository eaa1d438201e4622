"""A worker whose candidate hangs: only the requests that meet the candidate wait for it."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.core.rollout_types import CANARY, INTERLEAVED, INTERLEAVING, RolloutDecision
from vetrina.core.verdicts import Reason
from vetrina.models.drill.online import FaultyModel
from vetrina.serve.app import create_app
from vetrina.simulate.fault_injection import inject_candidate

pytestmark = pytest.mark.simulation

# A request may wait for a minute, so what is answered before it did not wait for it.
SETTINGS = "[release]\nsteps = [0.5]\ninterleaving_share = 0.5\ncandidate_timeout_ms = 60000\n"


class Hang:
    """What the candidate does: it waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def score(self, *_: object) -> None:
        """Instead of scores."""
        self.begun.set()
        self.let_go.wait()
        raise RuntimeError("let go")


@pytest.fixture
def hang(monkeypatch) -> Iterator[Hang]:
    """Every planted candidate hangs like this; let go at the end, whatever happens."""
    candidate = Hang()
    monkeypatch.setattr(FaultyModel, "score", candidate.score)
    yield candidate
    candidate.let_go.set()


@pytest.fixture
def shop(pristine, tmp_path) -> Iterator[Shop]:
    """A released shop with a candidate that hangs."""
    folder = Path(shutil.copytree(pristine[0], tmp_path / "shop"))
    (folder / "vetrina.toml").write_text(SETTINGS)
    opened_shop = Shop(folder)
    inject_candidate(opened_shop, "hang")
    yield opened_shop
    opened_shop.shop_context.engine.dispose()


@pytest.mark.parametrize(("step", "waiting"), [(0, CANARY), (INTERLEAVING, INTERLEAVED)])
def test_others_are_answered_while_a_request_waits_for_the_candidate(shop, hang, step, waiting):
    running = shop.shop_context.rollouts.running()["recommend"]
    rollout = replace(running.rollout, step=step)
    decision = RolloutDecision("advance", (Reason("test", True, "past the shadow"),))
    shop.shop_context.rollouts.record_decision(
        running, running.seen, decision, rollout, "running", running.rollout.started
    )
    users = {rollout.arm(shop.folder.keys.pseudonymise(f"u{n:03d}"), None): f"u{n:03d}" for n in range(60)}
    meets = users.pop(waiting)
    other = next(iter(users.values()))
    with (
        TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        waits: Future = pool.submit(client.post, "/v1/recommend", json={"user_id": meets})
        assert hang.begun.wait(60)
        assert client.get("/healthz").text == "ok"
        assert client.post("/v1/recommend", json={"user_id": other}).json()["version"] == rollout.champion
        assert client.post("/v1/search", json={"query": "red shoes"}).status_code == 200
        assert not waits.done(), "all of these were answered while it hung"
        hang.let_go.set()
        answer = waits.result(60)
        assert answer.status_code == 200
        assert answer.json()["version"] == rollout.champion, "the champion answers for a candidate that fails"
