"""Connections that exceed a limit: they get one answer and end, and others are answered meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from vetrina.serve.http import protocol as http_protocol
from vetrina.serve.http.protocol import BoundedHttpProtocol

SECONDS = 30.0  # no machine is so slow
LARGE_BYTES = 30_000_000  # more than the buffers of a connection hold
GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\n"


async def application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Reads the body, and answers with its length; for ever at work on /hang, and with far more than is asked on /large."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        if not message["more_body"]:
            break
    if scope["path"] == "/hang":
        await asyncio.Event().wait()
    body = b"read %d" % length
    if scope["path"] == "/large":
        body = bytes(LARGE_BYTES)
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(max_connections: int = 100, count_refusal: Callable[[int], None] = lambda status: None):
    """Connects to a server of the application; each connection is a reader and a writer."""
    config = uvicorn.Config(application, log_config=None)
    state = ServerState()

    def protocol() -> BoundedHttpProtocol:
        return BoundedHttpProtocol(config, state, {}, max_connections=max_connections, count_refusal=count_refusal)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    writers = []

    async def connect(sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, port)
        writers.append(writer)
        writer.write(sent)
        return reader, writer

    try:
        yield connect
    finally:
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What the server sends until it closes the connection."""
    async with asyncio.timeout(SECONDS):
        try:
            return await reader.read()
        except ConnectionError:  # it closed before all that was sent had arrived
            return b""


def answer_to(sent: bytes) -> bytes:
    """The answer to what is sent over a connection that the server ends."""

    async def exchange() -> bytes:
        async with serving() as connect:
            reader, _ = await connect(sent)
            return await all_of(reader)

    return asyncio.run(exchange())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET + b"X: " + b"a" * 66_000 + b"\r\n\r\n", b"431"),
        (GET + b"X: " + b"a" * 70_000, b"431"),  # and its end never comes
        (b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (GET + b"X: 1\r\n" * 100 + b"\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
    ids=["field", "endless field", "path", "fields", "nonsense", "chunk"],
)
def test_a_header_beyond_a_limit_is_refused(sent, status):
    """S13: the header is bounded in bytes and in fields; the answer is one line of JSON."""
    answer = answer_to(sent)
    assert answer.split(b" ")[1] == status
    assert b'{"error":"' in answer


def test_what_surrounds_a_body_is_bounded(monkeypatch):
    """S13: trailers are a header after the body, and have a bound as well."""
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 1e6)
    answer = answer_to(POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: " + b"a" * 2_000_000)
    assert answer.split(b" ")[1:2] in ([], [b"400"])  # whoever still sends may find the connection closed


def test_large_bodies_and_pipelined_requests_are_answered():
    """The limits are of headers and of time: a large body passes, and so do several requests in one piece."""
    request = POST + b"content-length: 300000\r\n\r\n" + b"a" * 300_000
    answer = answer_to(request + GET + b"\r\n" + GET + b"connection: close\r\n\r\n")
    assert answer.count(b"200 OK") == 3
    assert answer.count(b"read 300000") == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (GET, b"408"),
        (POST + b"content-length: 10\r\n\r\nabc", b"408"),
        (GET + b"\r\n" + GET, b"200"),
    ],
    ids=["nothing", "header", "body", "second header"],
)
def test_a_request_that_does_not_come_to_an_end_is_given_up(monkeypatch, sent, status):
    """S13: a header and a body each have a time; a connection that sends nothing ends without an answer."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.1)
    answer = answer_to(sent)
    assert answer.partition(b"\r\n")[0].split(b" ")[1:2] == ([status] if status else [])
    assert answer.endswith(b"}") or status != b"408"


def test_requests_that_are_sent_ahead_are_bounded():
    """S13: requests that wait for the answers before them take memory; a client that sends ever more is cut off."""
    hang = b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert answer_to(hang + (GET + b"\r\n") * 40) == b""
    answers = answer_to((GET + b"\r\n") * 30 + GET + b"connection: close\r\n\r\n")
    assert answers.count(b"200 OK") == 31


@pytest.mark.parametrize(
    ("sent", "send_seconds"),
    [(b"\r\n", 0.1), (b"connection: close\r\n\r\n", 1e6), (b"\r\n" + GET, 1e6)],
    ids=["kept", "closing", "late"],
)
def test_a_client_that_does_not_take_its_answer_is_cut_off(monkeypatch, sent, send_seconds):
    """S13: answers that nobody takes hold memory and a request's place, so that they have a time, too."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(http_protocol, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(http_protocol, "SEND_SECONDS", send_seconds)

    async def exchange() -> None:
        async with serving(max_connections=1) as connect, asyncio.timeout(SECONDS):
            await connect(b"GET /large HTTP/1.1\r\nHost: localhost\r\n" + sent)
            answer = b""
            while b"200 OK" not in answer:  # until the first connection has ended
                reader, _ = await connect(GET + b"connection: close\r\n\r\n")
                answer = await all_of(reader)

    asyncio.run(exchange())


def test_requests_beyond_the_limit_are_turned_away_but_health_checks_are_not(monkeypatch):
    """A busy service says so at once, and when to come again; whoever watches it still learns that it lives."""
    monkeypatch.setattr(http_protocol, "MAX_REQUESTS", 1)
    counted: list[int] = []

    async def exchange() -> tuple[bytes, bytes]:
        async with serving(count_refusal=counted.append) as connect:
            await connect(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            turned_away = b"200 OK"
            while b"200 OK" in turned_away:  # until the first request has arrived
                reader, _ = await connect(GET + b"connection: close\r\n\r\n")
                turned_away = await all_of(reader)
            reader, _ = await connect(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n")
            return turned_away, await all_of(reader)

    turned_away, healthy = asyncio.run(exchange())
    assert turned_away.split(b" ")[1] == b"503"
    assert b"retry-after: 1\r\n" in turned_away
    assert healthy.split(b" ")[1] == b"200"
    assert counted == [503]


def test_a_connection_beyond_the_limit_is_refused_and_others_go_on():
    """Connections have a limit below that of open files, since a process without files left answers nobody."""

    counted: list[int] = []

    async def exchange() -> tuple[bytes, bytes]:
        async with serving(max_connections=1, count_refusal=counted.append) as connect:
            first, writer = await connect(GET + b"\r\n")
            await first.readline()
            second, _ = await connect()
            refusal = await all_of(second)
            writer.write(GET + b"connection: close\r\n\r\n")
            return refusal, await all_of(first)

    refusal, answers = asyncio.run(exchange())
    assert refusal.split(b" ")[1] == b"503"
    assert answers.count(b"read 0") == 2
    assert counted == [503]
