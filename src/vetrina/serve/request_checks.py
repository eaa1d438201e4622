"""Checks of every request before it is routed to its handler: host, content type, request id."""

import functools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

from litestar.exceptions import ClientException

from vetrina.core.log_format import REQUEST_ID

REQUEST_ID_HEADER = "x-request-id"
_JSON_TYPE = b"application/json"
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_BYTES = 8
_KNOWN_HOSTS = 1_024  # remembered answers of the host rule
_PORT = re.compile(r":\d{1,5}$")

_Message = Any
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[Any, _Receive, _Send], Awaitable[None]]


class RefusedHost(ClientException):
    """The Host header names no name of this service."""

    status_code = 400


class UnsupportedType(ClientException):
    """The body is of another type than JSON."""

    status_code = 415


def request_checks(hosts: Iterable[str]) -> Callable[..., _Application]:
    """Middleware that checks each request.

    - The Host header is an address, ``localhost`` or one of ``hosts``. A page elsewhere that lets its own name resolve to this
      machine (DNS rebinding) sends its name, never an address.
    - A body is ``application/json``: what a browser sends to other sites without a preflight request is none.
    - The id of a request is the client's ``X-Request-Id`` where it is sane, otherwise a new one. The answer and each line of
      the log carry it.

    Args:
        hosts: names of the service, without ports.
    """
    names = frozenset(host.lower() for host in hosts) | {"localhost"}

    @functools.lru_cache(maxsize=_KNOWN_HOSTS)
    def is_host(host: bytes) -> bool:
        name = _PORT.sub("", host.decode("latin-1")).lower().removesuffix(".")
        return name in names or _is_address(name.removeprefix("[").removesuffix("]"))

    def middleware(app: _Application) -> _Application:
        """The application behind the checks."""

        async def check(scope: Any, receive: _Receive, send: _Send) -> None:
            headers: dict[bytes, bytes] = dict(scope["headers"])
            request_id = _request_id(headers)
            REQUEST_ID.set(request_id.decode())
            if not is_host(headers.get(b"host", b"")):
                raise RefusedHost("the Host header names no name of this service; list its names in [serve] hosts")
            if _has_body(headers) and not _is_json(headers):
                raise UnsupportedType("the body is not JSON; send it with 'content-type: application/json'")

            async def send_with_id(message: _Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
                await send(message)

            await app(scope, receive, send_with_id)

        return check

    return middleware


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    sent = headers.get(b"x-request-id", b"")
    if _SANE_REQUEST_ID.fullmatch(sent):
        return sent
    return secrets.token_hex(_REQUEST_ID_BYTES).encode()


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _is_json(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == _JSON_TYPE


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
