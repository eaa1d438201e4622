"""Download of one image from an untrusted URL: http and https, public addresses, limited in size and time.

Every address that a host name resolves to is checked before a connection, which is made to a checked address, so that
a name that resolves to another address a moment later (DNS rebinding) gains nothing. Redirects are checked in the same way.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Collection
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MAX_IMAGE_BYTES = 20_000_000
_IMAGE_SECONDS = 5.0  # for an image in all, redirects included
_MAX_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
# NAT64 of IPv6 networks (RFC 6052): the last 32 bits are the address of an IPv4 host.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_URL_CHARACTERS = "/%:@!$&'()*+,;=~-._?"  # of paths and queries: anything else is quoted

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedUrl(ValueError):
    """An address that images are not fetched from, or an answer that is no file of acceptable size."""


def fetch_image(url: str, private_hosts: Collection[str] = (), seconds: float = _IMAGE_SECONDS) -> bytes:
    """The file behind a URL.

    Args:
        url: Address with http or https.
        private_hosts: Host names whose addresses may be private.
        seconds: Time for everything.

    Raises:
        RefusedUrl: The address, a redirect or the answer is not acceptable, or the time is over.
        OSError: The host cannot be reached.
        HTTPException: Its answer is no HTTP.
    """
    connection = _CheckedConnection(private_hosts, seconds)
    timer = threading.Timer(seconds, connection.cut_off)
    timer.daemon = True
    timer.start()
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            content, location = connection.get(url)
            if not location:
                return content
            url = urljoin(url, location)
        raise RefusedUrl(f"more than {_MAX_REDIRECTS} redirects")
    finally:
        timer.cancel()
        connection.close()


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet: not loopback, private, link-local, shared (CGNAT), multicast or none.

    An IPv6 address that stands for an IPv4 host is judged by that host.
    """
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded_ipv4(address)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 host that an IPv6 address leads to: mapped, 6to4, Teredo or NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


class _CheckedConnection:
    """The connections of one download, one after the other; ``cut_off`` ends whatever they wait for."""

    def __init__(self, private_hosts: Collection[str], seconds: float) -> None:
        self._private_hosts = private_hosts
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._is_over = threading.Event()

    def cut_off(self) -> None:
        """End the download: called by another thread when the time is over."""
        self._is_over.set()
        sock = self._socket
        if sock is None:
            return
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which would wait for the other side
        except OSError:
            return  # not connected, or closed meanwhile

    def close(self) -> None:
        """Close the connection that is open."""
        if self._socket is not None:
            self._socket.close()

    def get(self, url: str) -> tuple[bytes, str]:
        """Content of a URL, or the address that it redirects to; the other one is empty. Raises as ``fetch_image``."""
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in _PORTS or not host or parts.username is not None:
            raise RefusedUrl("no http or https address of a host")
        port = parts.port or _PORTS[parts.scheme]
        self.close()
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._connect(host, port, is_https=parts.scheme == "https")
        try:
            connection.request("GET", _target(parts), headers={"Host": _host_header(parts), "Accept": "image/*"})
            response = connection.getresponse()
            if response.status in _REDIRECT_STATUS:
                return b"", response.headers.get("Location") or ""
            return self._read(response), ""
        finally:
            connection.close()

    def _connect(self, host: str, port: int, *, is_https: bool) -> socket.socket:
        """A socket to a checked address of the host."""
        sock = self._connect_to_one_of(self._resolve(host, port), port)
        self._socket = sock
        self._check_time()
        if not is_https:
            return sock
        context = ssl.create_default_context()
        tls_socket = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        self._socket = tls_socket
        self._check_time()
        tls_socket.do_handshake()
        return tls_socket

    def _connect_to_one_of(self, addresses: list[str], port: int) -> socket.socket:
        """A socket to the first address that answers. Raises OSError where none does."""
        for address in addresses[:-1]:
            self._check_time()
            try:
                return socket.create_connection((address, port), self._seconds)
            except OSError:
                continue
        self._check_time()
        return socket.create_connection((addresses[-1], port), self._seconds)

    def _resolve(self, host: str, port: int) -> list[str]:
        """Addresses of a host. Raises RefusedUrl if one of them is not public."""
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in infos]
        if host.lower() in self._private_hosts:
            return addresses
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise RefusedUrl("an address that is not public")
        return addresses

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The body of an answer, whole."""
        if response.status != http.HTTPStatus.OK:
            raise RefusedUrl(f"HTTP status {response.status}")
        if (response.length or 0) > MAX_IMAGE_BYTES:
            raise RefusedUrl("too large")
        content = response.read(MAX_IMAGE_BYTES + 1)
        if len(content) > MAX_IMAGE_BYTES:
            raise RefusedUrl("too large")
        if response.length:
            raise RefusedUrl("cut off")
        self._check_time()
        return content

    def _check_time(self) -> None:
        if self._is_over.is_set():
            raise RefusedUrl("takes too long")


def _target(parts: SplitResult) -> str:
    """Path and query of a request."""
    target = quote(parts.path or "/", safe=_URL_CHARACTERS)
    if parts.query:
        target += f"?{quote(parts.query, safe=_URL_CHARACTERS)}"
    return target


def _host_header(parts: SplitResult) -> str:
    """Host and port as the URL has them."""
    return parts.netloc.encode("idna").decode()
