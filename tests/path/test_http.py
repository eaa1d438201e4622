"""The service over real HTTP: a server in a process of its own."""

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from vetrina.simulate.processes import start_command
from vetrina.store.shop_folder import ShopFolder


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[Path], httpx.Client]]:
    """Starts servers on free ports and stops them at the end."""
    running: list[tuple[subprocess.Popen[str], httpx.Client]] = []

    def begin(folder: Path) -> httpx.Client:
        server, address = start_command(folder, "serve", "--port", "0")
        client = httpx.Client(base_url=address, timeout=20)
        running.append((server, client))
        for _ in range(200):
            try:
                client.get("/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        return client

    yield begin
    for server, client in running:
        client.close()
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="module")
def shop(trained, start) -> httpx.Client:
    """The checkerboard shop, serving."""
    return start(trained[0])


@pytest.fixture(scope="module")
def token(trained) -> dict[str, str]:
    """What routes that change something want to see."""
    return {"authorization": f"Bearer {ShopFolder(trained[0]).keys.api_token}"}


def test_search_and_recommend_answer_with_version_and_request_id(shop):
    for route, body in (("search", {"query": "red shoes"}), ("recommend", {"user_id": "u000", "explain": True})):
        answer = shop.post(f"/v1/{route}", json=body)
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert result["version"].startswith(route)
        assert len(result["request_id"]) == 32
        assert result["items"][0]["title"]
    assert result["items"][0]["reasons"]


def test_facets_filters_sort_and_pages(shop):
    body = {"query": "lamp", "facets": ["brand"], "sort": "-price", "limit": 3}
    first = shop.post("/v1/search", json=body).json()
    assert sum(first["facets"]["brand"].values()) == first["total"]
    second = shop.post("/v1/search", json={**body, "offset": 3}).json()
    assert not {i["product_id"] for i in first["items"]} & {i["product_id"] for i in second["items"]}
    cheap = shop.post("/v1/search", json={"query": "lamp", "filters": {"price": {"max": 12}}}).json()
    assert {i["product_id"] for i in cheap["items"]} <= {f"p{n:03d}" for n in range(8)}


def test_an_event_changes_the_very_next_answer(shop):
    before = shop.post("/v1/recommend", json={"session_id": "s-1", "placement": "cart"}).json()["items"]
    event = {"user_id": "visitor", "session_id": "s-1", "type": "purchase", "product_id": "p011", "event_id": "e-1"}
    assert shop.post("/v1/events", json=event).json() == {"accepted": 1, "new": 1}
    assert shop.post("/v1/events", json=[event, event]).json() == {"accepted": 2, "new": 0}
    after = shop.post("/v1/recommend", json={"session_id": "s-1", "placement": "cart", "limit": 5}).json()["items"]
    assert [i["product_id"] for i in after] != [i["product_id"] for i in before][:5]
    assert "p013" in [i["product_id"] for i in after]


def test_a_new_product_is_found_within_a_second_and_a_deleted_one_gone(shop, token):
    assert shop.put("/v1/products/zebra", json={"title": "Zebra rug"}).status_code == 401
    assert shop.put("/v1/products/zebra", json={"title": "Zebra rug"}, headers=token).status_code == 200
    deadline = time.monotonic() + 1.0
    product_ids: list[str] = []
    while "zebra" not in product_ids and time.monotonic() < deadline:
        product_ids = [i["product_id"] for i in shop.post("/v1/search", json={"query": "zebra rug"}).json()["items"]]
    assert product_ids[0] == "zebra"
    assert shop.get("/v1/products/zebra").json()["title"] == "Zebra rug"
    assert shop.delete("/v1/products/zebra", headers=token).status_code == 200
    time.sleep(0.8)
    product_ids = [i["product_id"] for i in shop.post("/v1/search", json={"query": "zebra rug"}).json()["items"]]
    assert "zebra" not in product_ids
    assert shop.get("/v1/products/zebra").status_code == 404


@pytest.mark.parametrize(
    ("route", "body", "status", "words"),
    [
        ("/v1/search", {"query": ""}, 400, "query"),
        ("/v1/search", {"query": "x" * 10_000}, 400, "query"),
        ("/v1/search", {"query": "x", "limit": 0}, 400, "limit"),
        ("/v1/search", {"query": "x", "sort": "colour"}, 400, "price"),
        ("/v1/search", {"query": "x", "filters": {"weight": 3}}, 400, "category, brand"),
        ("/v1/recommend", {"placement": "moon"}, 400, "buy_again"),
        ("/v1/recommend", {"usr": "a"}, 400, "usr"),
        ("/v1/events", {"user_id": "a"}, 400, "type"),
        ("/v1/events", {"user_id": "a", "type": "view", "timestamp": "yesterday"}, 400, "ISO 8601"),
        ("/v1/events", {"user_id": "a", "type": "view", "timestamp": 4e9}, 400, "ahead"),
        ("/v1/events", [], 400, "1 and 1000"),
        ("/v1/predict", {"features": [1]}, 503, "vetrina run predict"),
        ("/v1/predict", {}, 400, "features"),
    ],
)
def test_bad_input_gets_one_clear_line(shop, route, body, status, words):
    answer = shop.post(route, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_broken_json_is_a_400(shop):
    answer = shop.post("/v1/search", content=b'{"query": ', headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_health_metrics_and_interface(shop):
    assert shop.get("/healthz").text == "ok"
    assert set(shop.get("/readyz").json()["serving"]) == {"recommend", "search"}
    assert "vetrina_answers_total" in shop.get("/metrics").text
    paths = shop.get("/openapi.json").json()["paths"]
    for route in ("/v1/search", "/v1/recommend", "/v1/predict", "/v1/events", "/v1/versions", "/readyz"):
        assert route in paths
    descriptions = [operation["description"] for methods in paths.values() for operation in methods.values()]
    assert not any("thread pool" in text for text in descriptions), "what stands there is ours"
    manual = shop.get("/schema")
    assert manual.headers["content-type"].startswith("text/html")
    assert all(route in manual.text for route in paths)
    assert "<code>filters</code><td>object" in manual.text
    assert "</code><td><td>" not in manual.text, "every field has a type"
    assert "://" not in manual.text, "the page fetches nothing from elsewhere"


def test_exposures_carry_position_version_and_propensity(shop, trained):
    from vetrina.core import clock
    from vetrina.store import exposure_queries
    from vetrina.store.database import open_store

    request_id = shop.post("/v1/recommend", json={"user_id": "u004", "limit": 4}).json()["request_id"]
    shop.post("/v1/events", json={"user_id": "u004", "type": "view"})  # waits for the log
    folder = ShopFolder(trained[0])
    engine = open_store(folder.store_url, folder.keys)
    exposures = exposure_queries.list_exposures(engine, "recommend", 0, clock.now() + 10, with_items=True)
    engine.dispose()
    (mine,) = [exposure for exposure in exposures if exposure.request_id == request_id]
    assert [item.position for item in mine.items] == [1, 2, 3, 4]
    assert all(item.propensity == 1.0 for item in mine.items)
    assert mine.user != "u004"


def test_versions_verdicts_and_refused_rollback(shop, token, trained):
    listed = shop.get("/v1/versions", headers=token).json()
    assert {v["scenario"] for v in listed} == {"recommend", "search"}
    assert shop.post("/v1/scenarios/recommend/rollback").status_code == 401
    refused = shop.post("/v1/scenarios/recommend/rollback", headers=token)
    assert refused.status_code == 404
    assert "no earlier version" in refused.json()["error"]
    assert shop.get("/v1/verdicts/nope", headers=token).status_code == 404
    assert shop.post("/v1/versions/nope/promote", headers=token).status_code == 404


def test_the_newest_verdict_of_a_scenario_is_for_machines(shop, token):
    assert shop.get("/v1/scenarios/search/verdict").status_code == 401
    answer = shop.get("/v1/scenarios/search/verdict", headers=token).json()
    serving = shop.get("/readyz").json()["serving"]["search"]
    assert (answer["scenario"], answer["version"], answer["champion"]) == ("search", serving, serving)
    assert (answer["outcome"], answer["release"]) == (answer["verdict"]["outcome"], "promoted")
    assert answer["time"] <= time.time()
    assert any(reason["numbers"] for reason in answer["verdict"]["reasons"])
    assert shop.get(f"/v1/verdicts/{answer['verdict']['id']}", headers=token).json() == answer["verdict"]
    for scenario, rule in (("launch", "has no verdict yet"), ("serach", "is not one of the scenarios")):
        refused = shop.get(f"/v1/scenarios/{scenario}/verdict", headers=token)
        assert refused.status_code == 404
        assert rule in refused.json()["error"]


def test_metrics_count_requests_in_flight_without_the_one_that_asks(shop):
    def in_flight() -> float:
        (value,) = re.findall(r"^vetrina_requests_in_flight (\S+)$", shop.get("/metrics").text, re.M)
        return float(value)

    assert in_flight() == 0
    host, port = shop.base_url.host, shop.base_url.port
    with socket.create_connection((host, port)) as waiting:  # its body does not come
        head = b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
        waiting.sendall(head)
        deadline = time.monotonic() + 20
        while in_flight() != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_predict_over_http(predicting, start):
    client = start(predicting[0])
    answer = client.post("/predict", json={"features": [2.0, -2.0, "blue"]}).json()
    assert answer["prediction"] is True
    assert 0.5 < answer["probability"] <= 1.0
    many = client.post("/v1/predict", json={"rows": [[2, -2, "blue"], {"x": -2, "y": 2, "colour": "green"}]}).json()
    assert [p["prediction"] for p in many["predictions"]] == [True, False]
    wrong = client.post("/predict", json={"features": [1.0]})
    assert wrong.status_code == 400
    assert "must have 3" in wrong.json()["error"]
    text = client.post("/predict", json={"features": ["abc", 0, "red"]})
    assert text.status_code == 400
    assert "is no number" in text.json()["error"]
    assert json.loads(client.get("/openapi.json").text)["info"]["title"] == "Vetrina"


def test_a_store_that_cannot_be_written_is_a_503_and_takes_nothing(pristine, tmp_path, start):
    folder = shutil.copytree(pristine[0], tmp_path / "shop")
    client = start(folder)
    with sqlite3.connect(folder / "store.db") as other:
        other.execute("DROP TABLE events")
    refused = client.post("/v1/events", json={"user_id": "a", "type": "view", "product_id": "p001"})
    assert refused.status_code == 503
    assert "nothing was stored" in refused.json()["error"]
    assert client.get("/healthz").text == "ok"
