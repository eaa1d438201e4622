"""HTTP/1.1 protocol with limits: size of the header, time to receive a request, number of requests under way.

Uvicorn has no limits of this kind: it waits for a client as long as the client likes. Each limit is answered here, before the
application sees the request, so that a client that exceeds one costs next to nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection on, to the end of the header
REQUEST_SECONDS = 60.0  # from the end of the header to the end of the body
RETRY_SECONDS = 1  # after which a client that was turned away may come again
# An orchestrator asks these to decide whether to end the process: being busy is no reason.
_ALWAYS_ADMITTED = frozenset({b"/healthz", b"/readyz"})
_HEADER_END = b"\r\n\r\n"

_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    Requests are counted when their header is complete, so that the limit also holds for those which wait for their turn in
    the event loop.
    """

    max_concurrent_requests: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application = self.app
        self._is_in_header = True
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_header and self._header_bytes + len(data) > MAX_HEADER_BYTES:
            end = data.find(_HEADER_END, 0, MAX_HEADER_BYTES - self._header_bytes)
            if end < 0:
                self._refuse(431, f"the header is larger than {MAX_HEADER_BYTES:,} bytes; send fewer or shorter fields")
                return
        super().data_received(data)
        # Most requests arrive in one piece and need no timer.
        if self._is_between_requests() or self.transport.is_closing():
            return
        if self._is_in_header:
            self._header_bytes += len(data)
            self._set_deadline(HEADER_SECONDS)
        else:
            self._set_deadline(REQUEST_SECONDS)

    def on_headers_complete(self) -> None:
        self._is_in_header = False
        self._header_bytes = 0
        self._clear_deadline()
        is_busy = len(self.tasks) >= self.max_concurrent_requests and self.url not in _ALWAYS_ADMITTED
        self.app = _turn_away if is_busy else self._application
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_header = True
        self._clear_deadline()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is no HTTP/1.1 request; correct the client")

    def _is_between_requests(self) -> bool:
        """Whether the last request has arrived whole, and nothing of a next one."""
        return self._is_in_header and self.cycle is not None and self.scope is self.cycle.scope

    def _set_deadline(self, seconds: float) -> None:
        """Start the time that is left for what is missing, unless it runs already."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """End a connection whose request did not arrive in time."""
        self._deadline = None
        if self.cycle is None and self._header_bytes == 0:
            self.transport.close()  # nothing was sent, so nothing is answered
            return
        self._refuse(408, "the request did not arrive in time; send it again, without pauses")

    def _refuse(self, status: int, text: str) -> None:
        """Answer without the application, unless an answer is on its way, and close the connection."""
        self._clear_deadline()
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started
        if not is_answering:
            self.transport.write(_response(status, text))
        self.transport.close()


def bounded_protocol(max_concurrent_requests: int) -> type[BoundedHttpProtocol]:
    """The protocol class of a server that works on so many requests at once and turns further ones away with 503."""

    class Protocol(BoundedHttpProtocol):
        pass

    Protocol.max_concurrent_requests = max_concurrent_requests
    return Protocol


def _response(status: int, text: str) -> bytes:
    body = msgspec.json.encode({"error": text})
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    )
    return "\r\n".join(lines).encode() + _HEADER_END + body


async def _turn_away(scope: _Message, receive: _Receive, send: _Send) -> None:
    """ASGI application that answers 503."""
    body = msgspec.json.encode({"error": f"the service is busy; send it again after {RETRY_SECONDS} s"})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_SECONDS).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
