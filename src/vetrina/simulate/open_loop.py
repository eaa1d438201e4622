"""Open-loop load over HTTP/1.1: requests start on a Poisson schedule, whether or not earlier ones have been answered.

Latency counts from the scheduled time, so that a slow service cannot slow its own clients down and look fast ("coordinated
omission"). A client gives up at its deadline and closes its connection, as people do. Nothing here knows what a request means.
"""

import asyncio
import re
import ssl
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import cast

import numpy as np

# Statuses of requests without an answer.
TIMED_OUT = 1  # not answered by the deadline
CUT = 2  # the connection was refused or closed
NOT_SENT = 3  # all connections were waiting for answers

_TICK_SECONDS = 0.001  # between two looks at the schedule
_MOST_STARTS = 200  # in one tick, so that answers are read although the generator is behind
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_END_OF_HEAD = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_SEED = 42

Call = tuple[str, bytes]  # a name for the answer, and the whole request


class Answers:
    """One entry a request, in the order in which they ended."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.statuses = array("h")  # of HTTP, or one of the above
        self.scheduled = array("d")  # seconds since the load began
        self.seconds = array("d")  # from the scheduled time to the last byte or to the end
        self.marked = array("b")  # 1 where the head of the answer holds the text that the load looks for
        self.most_behind = 0.0  # seconds by which the generator itself was late at most


class _Request:
    """A request that has no answer yet."""

    __slots__ = ("connection", "content", "is_done", "name", "scheduled")

    def __init__(self, call: Call, scheduled: float) -> None:
        self.name, self.content = call
        self.scheduled = scheduled  # time of the event loop
        self.connection: _Connection | None = None
        self.is_done = False


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    _transport: asyncio.Transport  # once it is made, and nothing is sent before

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = bytearray()
        self._request: _Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is no subclass

    def send(self, request: _Request) -> None:
        """Send a request; the answer goes to the load."""
        request.connection = self
        self._request = request
        self._received.clear()
        self._transport.write(request.content)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end_of_head = self._received.find(_END_OF_HEAD)
        if end_of_head < 0 or self._request is None:
            return
        head = bytes(self._received[:end_of_head])
        if not self._is_complete(head):
            return
        request = self._request
        self._request = None
        self._load.answered(request, self, head)

    def _is_complete(self, head: bytes) -> bool:
        """Whether the body of the only answer under way has arrived."""
        length = _CONTENT_LENGTH.search(head)
        if length is None:  # it comes in chunks, as of some proxies
            return self._received.endswith(_LAST_CHUNK)
        return len(self._received) >= len(head) + len(_END_OF_HEAD) + int(length.group(1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self, self._request)

    def close(self) -> None:
        """Close it without waiting for an answer."""
        self._transport.abort()


class Load:
    """A load on one address.

    Args:
        address: host and port.
        deadline_seconds: after the scheduled time; a request that is not answered by then has timed out.
        most_connections: that are open at a time.
        mark: text in the head of an answer to look for, in lower case; none for an empty one.
        tls: how a connection is encrypted; None for plain HTTP.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        deadline_seconds: float,
        most_connections: int,
        mark: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._deadline_seconds = deadline_seconds
        self._most_connections = most_connections
        self._mark = mark
        self._idle: list[_Connection] = []
        self._n_open = 0
        self._waiting: deque[_Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = Answers()
        self._began = 0.0
        self._next_calls: Iterator[Call] | None = None  # of a closed loop

    async def open_loop(
        self, calls: Iterator[Call], phases: Sequence[tuple[float, float]], seed: int = _SEED
    ) -> Answers:
        """Returns the answers to requests that arrive in a Poisson process.

        Args:
            calls: the requests.
            phases: requests a second, and for how many seconds, one after the other.
            seed: of the arrival times; loads that run beside each other have different ones.
        """
        loop = asyncio.get_running_loop()
        arrivals = poisson_arrivals(phases, seed)
        self._began = loop.time()
        position = 0
        while position < len(arrivals):
            now = loop.time() - self._began
            starts = 0
            while position < len(arrivals) and arrivals[position] <= now and starts < _MOST_STARTS:
                self._answers.most_behind = max(self._answers.most_behind, now - arrivals[position])
                self._start(_Request(next(calls), self._began + arrivals[position]))
                position += 1
                starts += 1
            self._give_up_late()
            await asyncio.sleep(0.0 if starts == _MOST_STARTS else _TICK_SECONDS)
        await self._finish()
        return self._answers

    async def closed_loop(self, calls: Iterator[Call], connections: int, seconds: float) -> Answers:
        """Returns the answers where each of some connections sends its next request once the last one is answered."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._next_calls = calls
        for _ in range(connections):
            self._start(_Request(next(calls), loop.time()))
        while loop.time() - self._began < seconds:
            self._give_up_late()
            await asyncio.sleep(_TICK_SECONDS)
        self._next_calls = None
        await self._finish()
        return self._answers

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()

    def answered(self, request: _Request, connection: _Connection, head: bytes) -> None:
        """Record an answer; its connection is free for another request."""
        has_mark = bool(self._mark) and self._mark in head.lower()
        self._record(request, int(head[9:12]), has_mark)
        self._idle.append(connection)
        self._continue()

    def lost(self, connection: _Connection, request: _Request | None) -> None:
        """A connection was closed, perhaps while a request waited for its answer."""
        self._n_open -= 1
        with suppress(ValueError):  # it carried a request
            self._idle.remove(connection)
        if request is not None and not request.is_done:
            self._record(request, CUT)
            self._continue()

    def _start(self, request: _Request) -> None:
        self._waiting.append(request)
        if self._idle:
            self._idle.pop().send(request)
        elif self._n_open < self._most_connections:
            self._n_open += 1
            task = asyncio.ensure_future(self._connect(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._record(request, NOT_SENT)

    async def _connect(self, request: _Request) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), *self._address, ssl=self._tls
            )
        except OSError:
            self._n_open -= 1
            if not request.is_done:
                self._record(request, CUT)
            return
        if request.is_done:
            self._idle.append(connection)
        else:
            connection.send(request)

    def _continue(self) -> None:
        if self._next_calls is not None:
            self._start(_Request(next(self._next_calls), asyncio.get_running_loop().time()))

    def _give_up_late(self) -> None:
        """End the requests whose deadline is over."""
        latest = asyncio.get_running_loop().time() - self._deadline_seconds
        while self._waiting and (self._waiting[0].is_done or self._waiting[0].scheduled < latest):
            request = self._waiting.popleft()
            if request.is_done:
                continue
            self._record(request, TIMED_OUT)
            if request.connection is not None:
                request.connection.close()
            self._continue()

    def _record(self, request: _Request, status: int, has_mark: bool = False) -> None:
        request.is_done = True
        now = asyncio.get_running_loop().time()
        self._answers.names.append(request.name)
        self._answers.statuses.append(status)
        self._answers.scheduled.append(request.scheduled - self._began)
        self._answers.seconds.append(now - request.scheduled)
        self._answers.marked.append(has_mark)

    async def _finish(self) -> None:
        """Wait until every request is answered or given up."""
        while self._waiting or self._tasks:
            self._give_up_late()
            await asyncio.sleep(_TICK_SECONDS)


def poisson_arrivals(phases: Sequence[tuple[float, float]], seed: int = _SEED) -> list[float]:
    """Arrival times of a Poisson process, in seconds; the same ones at each call.

    Args:
        phases: arrivals a second, and for how many seconds, one after the other.
        seed: of the arrival times.
    """
    rng = np.random.default_rng(seed)
    arrivals: list[float] = []
    begin = 0.0
    for rate, seconds in phases:
        count = rng.poisson(rate * seconds)
        arrivals += np.sort(rng.uniform(begin, begin + seconds, count)).tolist()
        begin += seconds
    return arrivals
