"""Checks of every request before it is routed: its host, the type of its body, its id.

A browser sends forms and plain text to any site without asking it first, and a name that an attacker controls may point to this
machine (DNS rebinding). So a body must be ``application/json``, for which a browser does ask, and the host must be an address,
which no rebinding can forge, or a name that the operator has listed.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from vetrina.core.logs import CURRENT_REQUEST, LoggedRequest, escaped

REQUEST_ID_HEADER = b"x-request-id"
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_BYTES = 12  # of one that is made here
_PORT = re.compile(r":[0-9]{1,5}$")
_HOSTS_REMEMBERED = 256
_JSON = b"application/json"
_NO_BODY = (None, b"0")
_FOREIGN_HOST = "the Host header: is neither an IP address nor one of [serve] hosts; add the name to that setting"
_NOT_JSON = "the body: is not application/json; send JSON with the header 'content-type: application/json'"


class RequestGate:
    """An ASGI application that lets requests pass to another one, with an id, or refuses them.

    Args:
        app: answers what passes.
        hosts: names by which the service may be called, beside IP addresses.
        count_refusal: called with the status of each refusal.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], count_refusal: Callable[[int], None]) -> None:
        self._app = app
        self._count_refusal = count_refusal
        names = frozenset(host.lower() for host in hosts)

        @lru_cache(maxsize=_HOSTS_REMEMBERED)
        def is_allowed_host(host: bytes) -> bool:
            return _is_allowed_host(host, names)

        self._is_allowed_host = is_allowed_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or have it answered; the answer carries the request's id."""
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(REQUEST_ID_HEADER))
        method = scope["method"] if scope["type"] == "http" else scope["type"]
        CURRENT_REQUEST.set(LoggedRequest(request_id.decode(), method, escaped(scope["path"])))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id)]
            await send(message)

        if not self._is_allowed_host(headers.get(b"host", b"")):
            await self._refuse(send_with_id, 400, _FOREIGN_HOST)
        elif _has_body(headers) and not _is_json(headers.get(b"content-type", b"")):
            await self._refuse(send_with_id, 415, _NOT_JSON)
        else:
            await self._app(scope, receive, send_with_id)

    async def _refuse(self, send: Send, status: int, text: str) -> None:
        self._count_refusal(status)
        await send_error(send, status, text)


async def send_error(send: Send, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Answer with an error, in the shape that all errors have.

    Args:
        send: of the ASGI application.
        status: of the answer.
        text: what is wrong and what to do about it.
        headers: further ones.
    """
    body = msgspec.json.encode({"error": text})
    own_headers = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own_headers, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _request_id(sent: bytes | None) -> bytes:
    """The id that the client sent, if it is short and harmless, else a new one."""
    if sent is not None and _SANE_REQUEST_ID.fullmatch(sent):
        return sent
    return os.urandom(_REQUEST_ID_BYTES).hex().encode()


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length") not in _NO_BODY or b"transfer-encoding" in headers


def _is_json(content_type: bytes) -> bool:
    if content_type == _JSON:
        return True
    return content_type.partition(b";")[0].strip().lower() == _JSON


def _is_allowed_host(host: bytes, names: frozenset[str]) -> bool:
    """Whether a Host header, with or without a port, is an IP address or one of the names.

    None at all passes, too: health checks of HTTP/1.0 send none, and a browser always sends one.
    """
    if not host:
        return True
    name = _PORT.sub("", host.decode("latin-1")).lower().removesuffix(".")
    if name in names:
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
