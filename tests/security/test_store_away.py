"""A store that does not answer: the event loop goes on, answers come from memory, nothing is acknowledged that is not stored."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from vetrina.serve import store_reader
from vetrina.serve.store_reader import READ_SECONDS

pytestmark = pytest.mark.security

LONG = 60.0  # seconds, longer than any test takes
USER = "u001"


class Store:
    """The store of a served shop, whose statements a test lets fail or wait."""

    def __init__(self, client: TestClient[Any]) -> None:
        self.failing = threading.Event()
        self.hanging = threading.Event()
        self.let_go = threading.Event()
        engine = client.app.state.service.engine
        event.listen(engine, "before_cursor_execute", self._before)

    def _before(self, *_: Any) -> None:
        if self.hanging.is_set():
            self.let_go.wait(LONG)
        if self.failing.is_set():
            raise OperationalError("a secret statement", {}, RuntimeError("a secret address"))


@pytest.fixture
def store(own_client) -> Iterator[Store]:
    """Let go at the end, so that all threads end."""
    stopped_store = Store(own_client)
    yield stopped_store
    stopped_store.failing.clear()
    stopped_store.hanging.clear()
    stopped_store.let_go.set()


def recommended(client: TestClient[Any], user: str = USER) -> Any:
    """The answer for a user."""
    return client.post("/v1/recommend", json={"user_id": user})


def counted(client: TestClient[Any], metric: str) -> float:
    """The value of a metric."""
    token = client.app.state.service.keys.api_token
    lines = client.get("/metrics", headers={"authorization": f"Bearer {token}"}).text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(metric)))


def test_answers_go_on_from_memory_without_the_store(own_client, store):
    """S28: what was read last stands in for the user's recent events; header and metric say so."""
    for product in ("p001", "p002"):
        body = {"user_id": USER, "type": "cart", "product_id": product}
        assert own_client.post("/v1/events", json=body).status_code == 202
    before = recommended(own_client)
    assert "x-vetrina-degraded" not in before.headers
    store.failing.set()
    after = recommended(own_client)
    assert after.status_code == 200
    assert after.headers["x-vetrina-degraded"] == "store"
    assert [item["product_id"] for item in after.json()["items"]] == [i["product_id"] for i in before.json()["items"]]
    assert counted(own_client, "vetrina_degraded_answers_total") == 1
    assert counted(own_client, "vetrina_store_away") == 1
    assert own_client.get("/readyz").status_code == 200
    assert own_client.get("/healthz").status_code == 200


def test_a_store_that_hangs_holds_nobody_up(own_client, store, monkeypatch):
    """S28: one request waits for the time budget, the next ones not at all, and the event loop for none of them."""
    store.hanging.set()
    assert recommended(own_client).headers["x-vetrina-degraded"] == "store"
    monkeypatch.setattr(store_reader, "READ_SECONDS", LONG)  # who waits now waits for ever
    for number in range(20):
        assert recommended(own_client, f"u{number:03d}").headers["x-vetrina-degraded"] == "store"
    assert own_client.get("/healthz").status_code == 200
    assert recommended(own_client, "nobody in particular").status_code == 200


def test_the_store_is_read_again_once_it_answers(own_client, store, monkeypatch):
    """S28: a second after a failure one request tries it."""
    store.failing.set()
    assert recommended(own_client).headers["x-vetrina-degraded"] == "store"
    store.failing.clear()
    clock = time.monotonic
    monkeypatch.setattr(store_reader.time, "monotonic", lambda: clock() + 2.0)
    assert "x-vetrina-degraded" not in recommended(own_client).headers


def test_events_are_refused_without_the_store(own_client, store):
    """S28: 503 with the time to try again, and nothing of the database in the answer."""
    store.failing.set()
    refused = own_client.post("/v1/events", json={"user_id": USER, "type": "view", "product_id": "p001"})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "secret" not in refused.text


def test_an_event_that_the_store_does_not_take_in_time_is_refused(own_client, store, monkeypatch):
    """S28: a store that hangs keeps no request for ever: events would take the places of requests that need no store."""
    monkeypatch.setattr("vetrina.serve.routes.events._WRITE_SECONDS", 0.2)
    store.hanging.set()
    event_body = {"user_id": USER, "type": "view", "product_id": "p001", "event_id": "e1"}
    refused = own_client.post("/v1/events", json=event_body)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    store.hanging.clear()
    store.let_go.set()
    again = own_client.post("/v1/events", json=event_body)
    assert again.status_code == 202, "the same event, whether it was written meanwhile or not"


def test_a_worker_whose_writer_of_events_has_ended_is_not_alive(own_client):
    """S28: an orchestrator restarts it, as it cannot take events any more."""
    own_client.app.state.service.event_log.close()
    assert own_client.get("/healthz").status_code == 503


def test_what_nobody_trained_is_refused_without_the_store(own_client, store):
    """S28: the time at which a version will be ready is left out."""
    store.failing.set()
    refused = own_client.post("/v1/search", json={"query": "chair"})
    assert refused.status_code == 503
    assert "no released version" in refused.json()["error"]


def test_the_time_budget_is_short():
    """S28: a user does not notice it."""
    assert READ_SECONDS <= 0.2
