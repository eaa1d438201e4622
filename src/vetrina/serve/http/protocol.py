"""HTTP/1.1 connections with limits: header sizes, times to send and to receive, requests under way, open connections.

Uvicorn bounds none of them. A client that exceeds one gets a 4xx or 503 and its connection ends, without a line in the log, since
anybody can cause it as often as they like; each is counted.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from vetrina.serve.http.request_gate import send_error

MAX_HEADER_BYTES = 65_536  # of the request line and all fields
MAX_HEADER_FIELDS = 100
HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to the end of the header
BODY_SECONDS = 30.0  # from the end of the header to the end of the body
MAX_REQUESTS = 256  # under way in one process
MAX_EVENT_REQUESTS = (
    MAX_REQUESTS // 2
)  # of them that wait for their events to be written: room for those that need no store
MAX_PIPELINED = 32  # requests of one connection that wait for the answers to those before them
SEND_SECONDS = 30.0  # in which the client must take some of its answers once they have filled the buffers
CLOSE_SECONDS = 10.0  # in which the client must take what is left when its connection is closed
RETRY_AFTER_SECONDS = 1
_MAX_FRAMING_BYTES = 1_000_000  # sizes of chunks and trailers of one body
_NEVER_TURNED_AWAY = frozenset({"/healthz", "/readyz", "/metrics"})  # whoever watches the service must not find it dead
_BUSY = f"the service: has {MAX_REQUESTS} requests under way; send it again in {RETRY_AFTER_SECONDS} s"
_TOO_LARGE = f"the header: is larger than {MAX_HEADER_BYTES} bytes or {MAX_HEADER_FIELDS} fields; send less"
_TOO_SLOW = (
    f"the request: took more than {HEADER_SECONDS:g} s for its header or {BODY_SECONDS:g} s for its body; resend it"
)
_MALFORMED = "the request: is no valid HTTP/1.1; send it with an HTTP client"


class HeaderTooLarge(Exception):
    """The header of a request exceeds a limit; stops the parser."""


class TooManyPipelined(Exception):
    """Too many requests wait on a connection; stops the parser."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        arguments: those of uvicorn's protocol.
        max_connections: open ones beyond which a new one is refused.
        count_refusal: called with the status of each refusal.
    """

    def __init__(
        self, *arguments: Any, max_connections: int, count_refusal: Callable[[int], None], **named_arguments: Any
    ) -> None:
        super().__init__(*arguments, **named_arguments)
        self._unlimited_app = self.app
        self._max_connections = max_connections
        self._count_refusal = count_refusal
        self._is_in_header = True  # of the current request, or before the next one
        self._received_bytes = 0  # of the header, or of the body's framing
        self._header_bytes = 0
        self._is_header_too_large = False
        # Time of the event loop by which the header or the body must be complete; None while nothing is expected. One timer of
        # the connection looks at it now and then, which is cheaper than a timer for each request.
        self._deadline: float | None = None
        self._send_deadline: float | None = None  # by which the client must take answers; None while it does
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Expect a header, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, _BUSY)
            return
        self._deadline = self.loop.time() + HEADER_SECONDS
        self._timer = self.loop.call_at(self._deadline, self._check_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and refuse it where a header or what surrounds a body does not end."""
        if self._deadline is None:
            self._deadline = self.loop.time() + HEADER_SECONDS
        self._received_bytes += len(data)
        super().data_received(data)
        if self._is_in_header and self._received_bytes > MAX_HEADER_BYTES:
            self._refuse(431, _TOO_LARGE)
        elif self._received_bytes > _MAX_FRAMING_BYTES:
            self._refuse(400, _MALFORMED)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._header_bytes = 0
        self._deadline = self.loop.time() + HEADER_SECONDS
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request line has come."""
        self._count_header_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field has come."""
        self._count_header_bytes(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADER_FIELDS:
            self._is_header_too_large = True
            raise HeaderTooLarge

    def on_headers_complete(self) -> None:
        """Have the request answered, or turn it away where too many are under way. The body may follow."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise TooManyPipelined
        self.app = self._unlimited_app if len(self.tasks) < MAX_REQUESTS else self._turn_away
        super().on_headers_complete()
        self._is_in_header = False
        self._received_bytes = 0
        self._deadline = self.loop.time() + BODY_SECONDS

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._received_bytes = max(0, self._received_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        super().on_message_complete()
        self._is_in_header = True
        self._received_bytes = 0
        self._deadline = None

    def pause_writing(self) -> None:
        """The client takes its answers more slowly than they come."""
        self._send_deadline = self.loop.time() + SEND_SECONDS
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken most of what waited."""
        self._send_deadline = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read."""
        if self._is_header_too_large:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, _MALFORMED)

    def _count_header_bytes(self, n_bytes: int) -> None:
        self._header_bytes += n_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            self._is_header_too_large = True
            raise HeaderTooLarge

    async def _turn_away(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in _NEVER_TURNED_AWAY:
            await self._unlimited_app(scope, receive, send)
        else:
            self._count_refusal(503)
            await send_error(send, 503, _BUSY, [(b"retry-after", b"%d" % RETRY_AFTER_SECONDS)])

    def _check_deadline(self) -> None:
        now = self.loop.time()
        next_check = now + HEADER_SECONDS if self._deadline is None else self._deadline
        if self._send_deadline is not None and now >= self._send_deadline:
            self.transport.abort()
        elif not self.transport.is_closing() and now < next_check:
            self._timer = self.loop.call_at(next_check, self._check_deadline)
        else:
            self._end_late_request()
            self._timer = self.loop.call_at(now + CLOSE_SECONDS, self.transport.abort)

    def _end_late_request(self) -> None:
        if self._is_in_header and self._received_bytes == 0:
            self.transport.close()  # nothing was sent, so there is nothing to answer
        else:
            self._refuse(408, _TOO_SLOW)

    def _refuse(self, status: int, text: str) -> None:
        """End the connection, with an answer unless that of a request is due or on its way."""
        if self.transport.is_closing():
            return
        self._count_refusal(status)
        if self._may_answer():
            body = msgspec.json.encode({"error": text})
            fields = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
            if status == 503:
                fields += b"retry-after: %d\r\n" % RETRY_AFTER_SECONDS
            self.transport.write(STATUS_LINE[status] + fields + b"\r\n" + body)
        self.transport.close()

    def _may_answer(self) -> bool:
        if self.cycle is None:
            return True
        if self._is_in_header:
            return self.cycle.response_complete
        return not self.cycle.response_started and not self.pipeline
