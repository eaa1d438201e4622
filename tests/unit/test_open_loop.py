"""The open-loop load: requests arrive whether or not earlier ones are answered, and each ends once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress

import pytest

from vetrina.simulate.open_loop import CUT, NOT_SENT, TIMED_OUT, Answers, Load, poisson_arrivals

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy"
PHASES = [(200.0, 0.2)]
DEADLINE_SECONDS = 0.3  # of a service that does not answer
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def calls() -> Iterator[tuple[str, bytes]]:
    """Requests with numbers for names."""
    number = 0
    while True:
        yield str(number), REQUEST
        number += 1


def answers_of(
    handler: Handler, *, most_connections: int = 1_000, deadline_seconds: float = 60.0, is_closed: bool = False
) -> Answers:
    """What a load records of a service, which may have closed its port."""
    handling: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.append(task)
        with closing(writer), suppress(ConnectionError):
            await handler(reader, writer)

    async def measure() -> Answers:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        if is_closed:
            server.close()
        load = Load(
            address, deadline_seconds=deadline_seconds, most_connections=most_connections, mark=b"\r\nretry-after:"
        )
        answers = await load.open_loop(calls(), PHASES)
        load.close()
        server.close()
        await asyncio.gather(*handling)
        return answers

    return asyncio.run(measure())


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with 503."""
    while await reader.readline():
        await reader.readline()
        writer.write(REFUSAL)


async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers nothing."""
    await reader.read()


async def answer_in_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with a body of unknown length, in two parts."""
    while await reader.readline():
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")


@pytest.fixture
def arrivals() -> list[float]:
    """When requests arrive."""
    return poisson_arrivals(PHASES)


def test_arrivals_are_as_many_as_the_phases_say_and_the_same_each_time():
    arrivals = poisson_arrivals([(1_000.0, 10.0), (100.0, 10.0)])
    assert arrivals == sorted(arrivals)
    assert arrivals == poisson_arrivals([(1_000.0, 10.0), (100.0, 10.0)])
    first = sum(arrival < 10.0 for arrival in arrivals)
    assert 9_600 < first < 10_400  # four standard deviations
    assert 870 < len(arrivals) - first < 1_130


def test_every_answer_is_recorded_with_its_status_and_mark(arrivals):
    answers = answers_of(refuse)
    assert sorted(answers.names, key=int) == [str(number) for number in range(len(arrivals))]
    assert set(answers.statuses) == {503}
    assert all(answers.marked)


def test_an_answer_in_chunks_ends_with_the_last_one(arrivals):
    answers = answers_of(answer_in_chunks)
    assert list(answers.statuses) == [200] * len(arrivals)


def test_requests_arrive_although_none_is_answered_and_end_at_their_deadline(arrivals):
    answers = answers_of(wait, deadline_seconds=DEADLINE_SECONDS)
    assert list(answers.statuses) == [TIMED_OUT] * len(arrivals)
    assert sorted(answers.scheduled) == pytest.approx(arrivals)
    assert min(answers.seconds) >= DEADLINE_SECONDS


def test_requests_without_a_free_connection_count(arrivals):
    answers = answers_of(wait, deadline_seconds=DEADLINE_SECONDS, most_connections=3)
    assert answers.statuses.count(TIMED_OUT) >= 3
    assert answers.statuses.count(NOT_SENT) > 0
    assert len(answers.statuses) == len(arrivals)


def test_a_service_that_is_gone_cuts_every_request(arrivals):
    answers = answers_of(wait, is_closed=True)
    assert list(answers.statuses) == [CUT] * len(arrivals)
