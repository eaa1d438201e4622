"""What is checked of every request before it is routed, and what every answer carries."""

import asyncio
import re

import httpx
import pytest
from litestar import Litestar, post
from litestar.params import JSONBody

from vetrina.core.errors import BadInput
from vetrina.core.logs import CURRENT_REQUEST
from vetrina.core.settings import load
from vetrina.serve.app import _cors_config
from vetrina.serve.http.request_gate import RequestGate


@post("/echo", status_code=200)
async def echo(data: JSONBody[dict[str, str]]) -> dict[str, str]:
    """The body, and the id that lines of the log would have."""
    request = CURRENT_REQUEST.get()
    assert request is not None
    return {**data, "logged_id": request.id, "logged_path": request.path}


def ask(method: str, path: str, origins: tuple[str, ...] = (), **request) -> tuple[httpx.Response, list[int]]:
    """The answer to one request, and the statuses that were counted as refusals."""
    refused: list[int] = []
    app = Litestar([echo], cors_config=_cors_config(origins), logging_config=None, openapi_config=None)
    app.asgi_handler = RequestGate(app.asgi_handler, ("localhost", "shop.example"), refused.append)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8337") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send()), refused


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost", True),
        ("LOCALHOST:8337", True),
        ("shop.example.", True),
        ("10.1.2.3:8337", True),  # a health check asks by address, which no name that is rebound can forge
        ("[::1]:8337", True),
        ("", True),
        ("evil.example", False),
        ("shop.example.evil.example", False),
        ("127.0.0.1.evil.example:8337", False),
        ("localhost:8337:80", False),
    ],
)
def test_a_host_is_an_address_or_a_listed_name(host, passes):
    """S12: of routes that do not exist, too."""
    answer, refused = ask("GET", "/nowhere", headers={"host": host})
    assert answer.status_code == (404 if passes else 400)
    assert refused == ([] if passes else [400])
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 200),
        ({"content-type": "Application/JSON; charset=utf-8"}, b"{}", 200),
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/x-www-form-urlencoded"}, b"{}", 415),
        ({"content-type": "multipart/form-data; boundary=application/json"}, b"{}", 415),
        ({}, b"{}", 415),  # a browser sends a Blob without a type
        ({"content-type": "text/plain", "transfer-encoding": "chunked"}, b"", 415),
    ],
)
def test_a_body_is_json(headers, content, status):
    """S12: whatever a browser may send to other sites without asking them is refused."""
    answer, _ = ask("POST", "/echo", headers=headers, content=content)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("sent", ["abc-1_2.Z", "x" * 64])
def test_a_sane_request_id_is_kept(sent):
    """The id of a proxy is found again in the answer and in the log."""
    answer, _ = ask("POST", "/echo", json={}, headers={"x-request-id": sent})
    assert answer.headers["x-request-id"] == sent
    assert answer.json() == {"logged_id": sent, "logged_path": "/echo"}


@pytest.mark.parametrize("sent", ["", "a b", "a\u00e9", 'a"', "x" * 65, None])
def test_another_request_id_is_replaced(sent):
    """An id that could be used to forge or to flood a log is not taken over."""
    headers = {} if sent is None else {"x-request-id": sent.encode("latin-1")}
    answer, _ = ask("POST", "/echo", json={}, headers=headers)
    made = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{24}", made)
    assert answer.json()["logged_id"] == made


@pytest.mark.parametrize(("origins", "allowed"), [((), None), (("https://shop.example",), "https://shop.example")])
def test_pages_of_listed_origins_alone_may_ask(origins, allowed):
    """S12: a browser lets no page of another origin send JSON or read answers, unless its origin is listed."""
    for origin, expected in (("https://shop.example", allowed), ("https://evil.example", None)):
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        answer, _ = ask("OPTIONS", "/echo", origins, headers=preflight)
        assert answer.headers.get("access-control-allow-origin") == expected
        answer, _ = ask("POST", "/echo", origins, headers={"origin": origin}, json={})
        assert answer.headers.get("access-control-allow-origin") == expected


@pytest.mark.parametrize(
    "line",
    [
        '[serve]\nhosts = ["http://shop.example"]',
        '[serve]\nhosts = ["shop.example:80"]',
        '[serve]\nhosts = ["*"]',
        '[serve]\norigins = ["*"]',
        '[serve]\norigins = ["https://shop.example/"]',
        '[log]\nformat = "xml"',
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, line):
    """A host with a scheme would never match, and an origin for everybody is no setting."""
    (tmp_path / "vetrina.toml").write_text(line)
    with pytest.raises(BadInput):
        load(tmp_path / "vetrina.toml")
