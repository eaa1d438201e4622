"""Addresses of clients: whose X-Forwarded-For counts."""

from ipaddress import ip_network

import pytest
from litestar import Request
from litestar.testing import RequestFactory

from vetrina.core.errors import BadInput
from vetrina.core.settings import load
from vetrina.serve.http.client_address import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request_from(peer: str, forwarded: str | None, proxies=PROXIES) -> Request:
    """A request over a connection from ``peer``."""
    factory = RequestFactory()
    factory.app.state.trusted_proxies = proxies
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    request = factory.get("/", headers=headers)
    request.scope["client"] = (peer, 1234)
    return request


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "192.0.2.1"),  # not a trusted proxy: anybody can send that
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.9", "198.51.100.9"),  # the first one was sent by the client
        ("10.0.0.1", "203.0.113.5, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.9, unknown", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("fd00::1", "2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8::5", None, "2001:db8::/64"),
        ("testclient", "198.51.100.9", "testclient"),
        ("10.0.0.1", "198.51.100.9" + ", 10.0.0.2" * 1_000, "10.0.0.2"),  # more proxies than are read
    ],
)
def test_only_what_trusted_proxies_appended_counts(peer, forwarded, client):
    """The last address that no trusted proxy has is the client's."""
    assert client_address(request_from(peer, forwarded)) == client


def test_without_trusted_proxies_the_connection_counts():
    """By default nobody's header counts."""
    assert client_address(request_from("10.0.0.1", "198.51.100.9", ())) == "10.0.0.1"


def test_a_proxy_that_is_no_network_is_refused(tmp_path):
    """A misspelt network is refused when the settings are read, not when the first request comes."""
    (tmp_path / "vetrina.toml").write_text('[serve]\ntrusted_proxies = ["10.0.0.0/33"]\n')
    with pytest.raises(BadInput, match=r"10\.0\.0\.0/33"):
        load(tmp_path / "vetrina.toml")
