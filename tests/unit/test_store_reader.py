"""Reads of the store within a time: what counts is how long the store takes, not how long the event loop is busy."""

import asyncio
import threading
import time

import pytest
import uvloop

from vetrina.serve import store_reader
from vetrina.serve.store_reader import StoreAway, StoreReader

LONG = 60.0  # seconds, longer than any test takes


@pytest.fixture
def reader():
    """Its threads end with the test."""
    opened_reader = StoreReader()
    yield opened_reader
    opened_reader.close()


def test_a_busy_event_loop_is_no_fault_of_the_store(reader):
    """What was read in time counts, even if the event loop looks for it only after that time."""
    is_busy = threading.Event()
    has_read = threading.Event()

    async def read_while_busy() -> str:
        async def be_busy() -> None:
            is_busy.set()
            assert has_read.wait(LONG)
            time.sleep(2 * store_reader.READ_SECONDS)  # the event loop computes answers for so long

        def query() -> str:
            assert is_busy.wait(LONG)
            has_read.set()
            return "read"

        busy = asyncio.create_task(be_busy())
        result = await reader.read(query)
        await busy
        return result

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read_while_busy()) == "read"
    assert not reader.is_away


def test_a_store_that_takes_too_long_is_away_until_a_read_succeeds(reader, monkeypatch):
    """One request waits, those after it do not; once the store answers again, requests read it again."""
    monkeypatch.setattr(store_reader, "_RETRY_SECONDS", 0.0)
    let_go = threading.Event()

    async def read() -> str:
        with pytest.raises(StoreAway):
            await reader.read(lambda: let_go.wait(LONG))
        assert reader.is_away
        with pytest.raises(StoreAway):
            await reader.read(lambda: "not tried while a read hangs")
        let_go.set()
        async with asyncio.timeout(LONG):
            while reader.is_away:
                try:
                    return await reader.read(lambda: "again")
                except StoreAway:
                    await asyncio.sleep(0)
        raise AssertionError("it stays away")

    assert asyncio.run(read()) == "again"
    assert not reader.is_away
