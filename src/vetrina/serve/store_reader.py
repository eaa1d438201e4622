"""Reads of the store on behalf of the event loop: in threads, within a time budget.

The event loop never waits for the store. A read that fails or takes too long ends the request's wait, and the store counts as
away: until a read succeeds again, one a second tries it and all others give up at once. This module does not know what is read.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from vetrina.core.errors import VetrinaError, describe_cause

READ_SECONDS = 0.1  # that a request waits for the store
_RETRY_SECONDS = 1.0  # between two attempts while the store is away
_N_THREADS = 4
_LOG = logging.getLogger("vetrina.serve")
_Result = TypeVar("_Result")


class StoreAway(VetrinaError):
    """The store did not answer in time; the request goes on from memory."""


@dataclass(slots=True)
class _Read:
    """A read that waits for a thread, and the future of the event loop that waits for it."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    query: Callable[[], Any]
    is_over: bool = False  # the thread has read; the event loop has yet to hear of it


class StoreReader:
    """Threads that read the store, started with the first read. ``read`` belongs to one event loop."""

    def __init__(self) -> None:
        self._reads: queue.SimpleQueue[_Read | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._n_pending = 0
        self._retry_at: float | None = None  # by the monotonic clock; None while the store answers

    @property
    def is_away(self) -> bool:
        """Whether the last read that ended has failed."""
        return self._retry_at is not None

    async def read(self, query: Callable[[], _Result]) -> _Result:
        """The result of ``query``, which runs in a thread.

        Raises:
            StoreAway: it failed, took longer than READ_SECONDS, or was not tried because an earlier one did.
        """
        if self._retry_at is not None and (self._n_pending or time.monotonic() < self._retry_at):
            raise StoreAway("the store is away")
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        read = _Read(loop, future, query)
        timer = loop.call_later(READ_SECONDS, self._give_up, read)
        self._n_pending += 1
        self._reads.put(read)
        try:
            return await future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let the threads end, each after its present read."""
        for _ in self._threads:
            self._reads.put(None)

    def _start(self) -> None:
        self._threads = [
            threading.Thread(target=self._work, name=f"store-reader-{number}", daemon=True)
            for number in range(_N_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (read := self._reads.get()) is not None:
            result = None
            error = None
            try:
                if not read.future.done():
                    result = read.query()
            except Exception as caught:  # noqa: BLE001 - whatever the driver raises, the request goes on from memory
                error = caught
            read.is_over = True
            with suppress(RuntimeError):  # the event loop has ended meanwhile
                read.loop.call_soon_threadsafe(self._finish, read.future, result, error)

    def _finish(self, future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        """Runs in the event loop once a read has ended."""
        self._n_pending -= 1
        if error is not None:
            self._note_failure(describe_cause(error))
            if not future.done():
                future.set_exception(StoreAway("the store is away"))
        elif not future.done():
            future.set_result(result)
            self._note_success()

    def _give_up(self, read: _Read) -> None:
        """Runs in the event loop when the time of a read is over.

        An event loop that is busy for so long hears of the time before it hears of the result: then the store is not to blame.
        """
        if not read.future.done() and not read.is_over:
            self._note_failure(f"no answer within {READ_SECONDS:g} s")
            read.future.set_exception(StoreAway("the store is away"))

    def _note_failure(self, cause: str) -> None:
        if self._retry_at is None:
            _LOG.error("the store does not answer (%s); answers go on from memory", cause)
        self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _note_success(self) -> None:
        if self._retry_at is not None:
            _LOG.warning("the store answers again")
            self._retry_at = None
