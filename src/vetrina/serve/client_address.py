"""Network address of a client, behind the shop's own proxies as well."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from litestar import Request

Networks = tuple[IPv4Network | IPv6Network, ...]
_IPV6_SITE_BITS = 64  # what a provider gives one customer


def parse_networks(networks: Sequence[str]) -> Networks:
    """Networks such as ``10.0.0.0/8``, or single addresses. Raises ValueError where one is neither."""
    return tuple(ip_network(network, strict=False) for network in networks)


def client_address(request: Request[Any, Any, Any]) -> str:
    """The address of the client; of an IPv6 client its /64 network, since a customer has all addresses of one.

    ``X-Forwarded-For`` counts only as far as each hop that wrote it is one of ``[serve] trusted_proxies``.

    Returns:
        The address as text; empty where there is none.
    """
    client = request.client
    if client is None:
        return ""
    trusted: Networks = request.app.state.trusted_proxies
    address = client.host
    if trusted and _is_within(address, trusted):
        address = _last_untrusted(address, request.headers.get("x-forwarded-for", ""), trusted)
    return _site(address)


def _last_untrusted(peer: str, forwarded: str, trusted: Networks) -> str:
    """The first hop from the right that no trusted proxy is; a hop that is no address ends the search."""
    address = peer
    for hop in reversed(forwarded.split(",")):
        hop = hop.strip()
        if not _is_address(hop):
            return address
        address = hop
        if not _is_within(address, trusted):
            return address
    return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_within(text: str, networks: Networks) -> bool:
    if not _is_address(text):
        return False
    address = ip_address(text)
    return any(address in network for network in networks)


def _site(text: str) -> str:
    if not _is_address(text):
        return text
    address = ip_address(text)
    if address.version == 4:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network(f"{address}/{_IPV6_SITE_BITS}", strict=False))
