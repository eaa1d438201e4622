"""What anybody may send to a route that reads: bounded, typed, and refused with a 400 where it is neither."""

import logging
import sqlite3

import msgspec
import pytest

from vetrina.bundle.spelling.read import SpellingCorrector
from vetrina.core.logs import TextFormatter
from vetrina.core.protocols import Context
from vetrina.core.types import Answer, Request
from vetrina.serve.live_state import ServedVersion

pytestmark = pytest.mark.security

JSON = {"content-type": "application/json"}
DEEP = b'{"query": "a", "filters": {"brand": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}"
BAD_UTF_8 = b'{"user_id": "\xff", "type": "view"}'
HUGE_NUMBER = b'{"features": [' + b"9" * 400 + b', 0, "red"]}'


def test_a_filter_of_twenty_thousand_values_is_refused(client):
    """S3: the number of values of a filter is bounded, since each costs time of the event loop."""
    answer = client.post("/v1/recommend", json={"filters": {"brand": ["a"] * 20_000}})
    assert answer.status_code == 400


class NothingFound:
    """An opened version of search that finds nothing, whatever the request."""

    def answer(self, request: Request, context: Context) -> Answer:
        """No products."""
        return Answer((), 0)


def test_twenty_thousand_facets_are_refused(client, monkeypatch):
    """S3: the number of facets of a search is bounded, since each is counted anew, repeated ones too."""
    serving = ServedVersion("search-000000000000", NothingFound())
    monkeypatch.setattr(client.app.state.service.champions, "get", lambda scenario: serving)
    answer = client.post("/v1/search", json={"query": "milk", "facets": ["brand"] * 20_000})
    assert answer.status_code == 400


def test_a_filter_of_a_megabyte_is_refused(client):
    """S9: what the log of answers keeps of a request is small, so that requests without a token cannot fill the disk."""
    answer = client.post("/v1/recommend", json={"filters": {"in_stock": ["x" * 1_000_000]}})
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    "wanted", [{"min": "abc"}, {"min": None}, {"min": [1, 2]}, {"max": {}}], ids=["text", "null", "list", "object"]
)
def test_a_price_filter_without_a_number_is_refused(client, wanted):
    """S11: a filter of the wrong type is the sender's fault, a 400."""
    answer = client.post("/v1/recommend", json={"filters": {"price": wanted}})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("route", "content"),
    [("/v1/search", DEEP), ("/v1/events", BAD_UTF_8), ("/v1/predict", HUGE_NUMBER)],
    ids=["deep", "utf-8", "huge number"],
)
def test_a_body_that_cannot_be_decoded_is_refused(client, route, content):
    """S11: JSON nested too deep, bytes that are no UTF-8 and numbers beyond every float are the sender's fault, a 400."""
    answer = client.post(route, content=content, headers=JSON)
    assert answer.status_code == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_web_page_elsewhere_cannot_send_events(client, content_type):
    """S12: what a browser sends to other sites without asking them first, anything but application/json, is a 415."""
    body = b'{"user_id": "victim", "type": "purchase", "product_id": "p001"}'
    headers = {"content-type": content_type, "origin": "https://evil.example"}
    answer = client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 415


def test_a_foreign_host_is_refused(client):
    """S12: a service on loopback answers to loopback names alone, which stops DNS rebinding."""
    answer = client.get("/readyz", headers={"host": "rebound.evil.example"})
    assert answer.status_code in (400, 403, 421)


def test_a_line_break_in_a_path_begins_no_line_of_the_log(own_shop, own_client, token, caplog):
    """S19: a path is logged with its control characters escaped, so that nobody can forge lines."""
    with sqlite3.connect(own_shop / "store.db") as store:
        store.execute("DROP TABLE verdicts")
    with caplog.at_level(logging.INFO):
        own_client.get("/v1/verdicts/x%0a2026-11-28 CRITICAL forged", headers=token)
    messages = [record.getMessage() for record in caplog.records]
    logged = next(message for message in messages if "forged" in message)
    assert "\n" not in logged


def test_an_id_with_a_slash_is_read_and_deleted(own_client, token):
    """S40: ids that are no part of a path are given in the query; NUL is refused in every place."""
    product = {"product_id": "a/b", "title": "chair"}
    own_client.post("/v1/products", json=[product], headers=token).raise_for_status()
    follower = own_client.app.state.service.follower
    follower.refresh()
    assert own_client.get("/v1/products", params={"product_id": "a/b"}).json()["title"] == "chair"
    own_client.delete("/v1/products", params={"product_id": "a/b"}, headers=token).raise_for_status()
    follower.refresh()
    assert own_client.get("/v1/products", params={"product_id": "a/b"}).status_code == 404
    assert own_client.get("/v1/products/p001%00").status_code == 400
    assert own_client.get("/v1/products", params={"product_id": "p001\x00"}).status_code == 400


def test_what_is_logged_of_a_request_is_bounded(own_shop, own_client):
    """S9: of long lists the log keeps a digest."""
    wanted = ["x" * 500 + str(number) for number in range(50)]
    own_client.post("/v1/recommend", json={"filters": {"brand": wanted, "category": wanted}}).raise_for_status()
    own_client.app.state.service.event_log.close()
    with sqlite3.connect(own_shop / "store.db") as store:
        (logged,) = store.execute("SELECT max(length(request)) FROM exposures").fetchone()
    assert logged < 10_000


def test_a_typo_costs_the_same_whatever_the_letters_of_the_catalogue(tmp_path, monkeypatch):
    """S15: the candidates of a correction have letters of the word's own script, and only so many."""
    signs = "".join(chr(0x4E00 + number) for number in range(3_000))
    words = {signs[start : start + 4]: 2 for start in range(0, len(signs), 4)} | {"chocolate": 2}
    (tmp_path / "spelling.json").write_bytes(msgspec.json.encode(words))
    corrector = SpellingCorrector(tmp_path / "spelling.json", lambda word: False)
    looked_up = CountingLookups(words)
    monkeypatch.setattr(corrector, "_counts", looked_up)
    query = " ".join([signs[7:31], "chocolat", *("unknown" + "abcdefghijkl"[number] for number in range(12))])
    assert "chocolate" in corrector.correct(query)
    assert looked_up.number < 30_000


class CountingLookups(dict[str, int]):
    """Counts of words that count how often they are asked."""

    number = 0

    def get(self, key: str, default: int = 0) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The count of a word."""
        self.number += 1
        return super().get(key, default)


def test_what_the_driver_says_stands_neither_in_the_answer_nor_in_the_log(own_shop, own_client, token, caplog):
    """S16, S53: a failure of the store is a constant text; the log has its type and place, under the id in the answer."""
    with sqlite3.connect(own_shop / "store.db") as store:
        store.execute("DROP TABLE verdicts")
    answer = own_client.get("/v1/verdicts/x", headers={**token, "x-request-id": "the-id"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["x-request-id"] == "the-id"
    lines = [TextFormatter().format(record) for record in caplog.records if record.name == "vetrina.serve"]
    assert "OperationalError" in "".join(lines)
    for text in (answer.text, *lines):
        assert "no such table" not in text
        assert "SELECT" not in text
