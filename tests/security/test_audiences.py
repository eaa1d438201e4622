"""Audiences: what is written for other programs, who is an address, and how a webhook knows who called."""

import csv
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import polars as pl
import pytest

from vetrina import Shop
from vetrina.api import batch, channels
from vetrina.api.webhook_signature import load_webhook_secret, webhook_signature
from vetrina.core.errors import BadInput
from vetrina.core.settings import ChannelSettings
from vetrina.core.types import Audience, AudienceMember
from vetrina.serve.recipients import AudienceQuery, Recipient, find_recipients

pytestmark = pytest.mark.security

ADDRESS = "victim@example.com"
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1")


# Formulas


@pytest.mark.parametrize("channel", ["csv", "email"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_an_audience_is_a_formula(tmp_path, channel, formula):
    """S17: ids, titles and reasons come from others; a spreadsheet must not run them."""
    recipient = Recipient(formula, "u@example.com", -0.5, formula)
    product = {"product_id": formula, "title": formula}
    out = tmp_path / "out.csv"
    channels.write_audience(channel, [recipient], product, out, ChannelSettings())
    with out.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row["user_id"] == row["reason"] == f"'{formula}"
    assert not any(cell.startswith(FORMULAS) for cell in row.values())
    assert row.get("score", "-0.5") == "-0.5", "a number stays a number"


def test_no_cell_of_batch_answers_is_a_formula(tmp_path):
    """S17: nor those of a file of answers; what is a number, stays one."""
    texts = [*FORMULAS, "-1", "+1.5", "plain"]
    batch._write_frame(pl.DataFrame({"user_id": texts, "score": [-1.5] * len(texts)}), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["user_id"] for row in rows] == [f"'{formula}" for formula in FORMULAS] + ["-1", "+1.5", "plain"]
    assert {row["score"] for row in rows} == {"-1.5"}


# Addresses


def recipients(shop: Shop, user_id: str) -> list[Recipient]:
    """An audience of one user."""
    shop_context = shop.shop_context
    member = AudienceMember(shop.folder.keys.pseudonymise(user_id), 1.0, "a test")
    selector = SimpleNamespace(answer=lambda *_: Audience((member,), 1))
    query = AudienceQuery(segment="loyal")
    found = find_recipients(selector, shop_context.engine, shop.folder.keys, SimpleNamespace(), query)
    return list(found.recipients)


@pytest.fixture
def shop(tmp_path) -> Iterator[Shop]:
    """An empty shop."""
    empty = Shop(tmp_path / "shop")
    yield empty
    empty.shop_context.engine.dispose()


def test_a_user_id_of_events_is_no_address(shop):
    """S17: whoever sends events for somebody's address puts nobody into a mailing."""
    shop.shop_context.pseudonymise_users([ADDRESS])
    [recipient] = recipients(shop, ADDRESS)
    assert recipient.user_id == ADDRESS
    assert recipient.email is None


def test_a_user_id_of_a_file_of_users_may_be_an_address(shop, tmp_path):
    """S17: a shop whose user ids are addresses names its users in a file."""
    users = tmp_path / "users.csv"
    users.write_text(f"user_id,consent\n{ADDRESS},yes\n")
    events = tmp_path / "events.csv"
    events.write_text(f"timestamp,user_id,type,product_id\n2026-01-01T10:00:00,{ADDRESS},purchase,p1\n")
    shop.ingest(users=[users], events=[events])
    [recipient] = recipients(shop, ADDRESS)
    assert recipient.email == ADDRESS


# Webhooks


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers with a status, and notes the requests."""

    status = 204
    location = ""
    requests: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Called for each request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append({"signature": self.headers["x-vetrina-signature"], "body": body})
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()

    def do_GET(self) -> None:
        """Where a redirect would lead."""
        self.requests.append({"body": b""})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hook(status: int = 204, location: str = "") -> Iterator[str]:
    """The address of a webhook on this machine."""
    Hook.status = status
    Hook.location = location
    Hook.requests.clear()
    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


PEOPLE = [Recipient("u1", None, 1.0, "a test")]


def test_the_secret_of_webhooks_is_not_the_token_and_stays(shop):
    """S47: who verifies a webhook gets no right to anything else."""
    keys = shop.folder.keys
    secret = load_webhook_secret(shop.folder.root / "keys")
    assert secret == load_webhook_secret(shop.folder.root / "keys")
    assert secret.encode() not in (keys.api_token.encode(), keys.pseudonym_key, keys.sealing_key, keys.signing_key)
    assert len(secret) >= 43


def test_a_webhook_signs_the_time_and_the_body():
    """S47: a body that is sent again later is known by its time."""
    with hook() as url:
        channels.post_audience(PEOPLE, None, url, "a secret")
    [request] = Hook.requests
    timestamp = int(request["signature"].removeprefix("t=").partition(",")[0])
    assert request["signature"] == webhook_signature("a secret", request["body"], timestamp)
    assert request["signature"] != webhook_signature("a secret", request["body"], timestamp + 1).replace(
        str(timestamp + 1), str(timestamp)
    )


@pytest.mark.parametrize("url", ["http://crm.example/hook", "http://10.0.0.1/", "ftp://127.0.0.1/", "https:///hook"])
def test_users_are_not_sent_in_the_clear(url):
    """S47: https, or http on the same machine."""
    with pytest.raises(BadInput, match="https address"):
        channels.post_audience(PEOPLE, None, url, "a secret")


def test_a_webhook_that_redirects_is_not_followed():
    """S47: users are sent to the address that was given."""
    with hook(302, "/elsewhere") as url, pytest.raises(BadInput, match="HTTP status 302"):
        channels.post_audience(PEOPLE, None, url, "a secret")
    assert all(request["body"] for request in Hook.requests), "no GET followed"


def test_a_webhook_that_answers_no_http_is_one_line(monkeypatch):
    """S47: whatever answers at the address, the operator is told which address it was."""

    def answer_garbage(request: Hook) -> None:
        request.rfile.read(int(request.headers["content-length"]))
        request.wfile.write(b"garbage\r\n\r\n")

    monkeypatch.setattr(Hook, "do_POST", answer_garbage)
    with hook() as url, pytest.raises(BadInput, match="no HTTP"):
        channels.post_audience(PEOPLE, None, url, "a secret")
