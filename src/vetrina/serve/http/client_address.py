"""Address of a client, also behind reverse proxies.

Each proxy appends the address of whoever connected to it to the header ``X-Forwarded-For``. Anybody may send that header, so that
it is read from its end, and only as far as the proxies that wrote it are trusted: ``[serve] trusted_proxies``.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from litestar import Request

_MAX_PROXIES = 8  # between a client and the service; what lies before them is not read
_HEADER = "x-forwarded-for"
_CLIENT_PREFIX_BITS_V6 = 64  # an IPv6 client has a whole network of this size and may choose any address in it

Network = IPv4Network | IPv6Network


def client_address(request: Request[Any, Any, Any]) -> str:
    """The address of whoever sent a request, for limits per client.

    A client on IPv6 is named by its /64 network, in which it may choose its addresses freely. A peer without an IP address,
    such as a test client, is returned as it is named; "" if it has no name.
    """
    peer = request.client
    if peer is None:
        return ""
    trusted: Sequence[Network] = request.app.state.trusted_proxies
    if not trusted:
        return _client_name(peer.host)
    return _client_name(_forwarded_client(peer.host, request.headers.getall(_HEADER, []), trusted))


def _forwarded_client(peer: str, headers: Sequence[str], trusted: Sequence[Network]) -> str:
    """The last address that no trusted proxy has, or the farthest proxy where all of them are trusted.

    Args:
        peer: the address that the connection comes from.
        headers: the values of X-Forwarded-For, in order.
        trusted: networks of the trusted proxies.
    """
    client = peer
    hops = ",".join(headers).rsplit(",", _MAX_PROXIES)[-_MAX_PROXIES:]
    for hop in reversed(hops):
        if not _is_in(client, trusted):
            break
        address = _parse(hop.strip())
        if address is None:  # whatever it is, it is no address: the proxy that sent it stands for its client
            break
        client = str(address)
    return client


def _is_in(host: str, networks: Sequence[Network]) -> bool:
    address = _parse(host)
    return address is not None and any(address in network for network in networks)


def _client_name(host: str) -> str:
    address = _parse(host)
    if address is None:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _CLIENT_PREFIX_BITS_V6), strict=False))
    return str(address)


def _parse(host: str) -> IPv4Address | IPv6Address | None:
    """The address; one of IPv4 within IPv6 (::ffff:10.0.0.1) as IPv4. None where it is none."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
