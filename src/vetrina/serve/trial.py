"""A candidate among shoppers, inside one worker: asked behind a guard, so that whatever it does the champion can answer.

It answers in a thread of its own, one request after the other, while the event loop goes on with other requests. One that raises,
answers too late or answers nonsense is put aside within the same request; one that hangs again and again is not asked any more.
"""

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from vetrina.core.protocols import Context
from vetrina.core.rollout import Rollout
from vetrina.core.types import Answer, Request

_MOST_HANGS, _QUEUE, _SHADOW_GAP = 3, 32, 0.05
Note = Callable[[dict[str, Any]], None]
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class Tried:
    """The candidate's answer, or why there is none.

    ``fault`` is unopened, error, timeout, shape, hanging, or busy where its turn did not come within the time allowed.
    ``seconds`` are those that the candidate itself took, without the wait for its turn; 0 where it was not asked.
    """

    answer: Answer | None
    fault: str | None
    seconds: float = 0.0


class Trial:
    """One opened candidate with its release. ``opened`` is None if it does not open; ``note`` logs a row of its shadow."""

    def __init__(self, rollout: Rollout, opened: Any, timeout: float, note: Note) -> None:
        self.rollout = rollout
        self._opened, self._timeout, self._note = opened, timeout, note
        self._hangs, self._next_shadow = 0, 0.0
        self._aside = _Aside()

    def at(self, rollout: Rollout) -> "Trial":
        """The same candidate at another step."""
        self.rollout = rollout
        return self

    async def ask(self, asked: Request, context: Context) -> Tried:
        """Wait for the candidate, but not longer than the time allowed; the event loop does other work meanwhile."""
        if self._opened is None:
            return Tried(None, "unopened")
        if self._hangs >= _MOST_HANGS:
            return Tried(None, "hanging")
        aside = self._aside
        future = aside.do(lambda: self._answered(asked, context))
        if future is None:
            return Tried(None, "busy")
        tried = asyncio.wrap_future(future)
        try:
            await asyncio.wait([tried], timeout=self._timeout)
            return tried.result() if tried.done() else self._late(future, aside)
        finally:
            tried.cancel()  # nobody waits for it any more; what is done stays done

    def _answered(self, asked: Request, context: Context) -> Tried:
        """In the candidate's thread."""
        started = time.perf_counter()
        try:
            answer = self._opened.answer(asked, context)
            seconds = time.perf_counter() - started
            return Tried(answer, None, seconds) if fits(answer, asked) else Tried(None, "shape", seconds)
        except Exception as error:  # noqa: BLE001 - whatever a candidate does, the champion answers
            _LOG.warning("the candidate %s failed: %r", self.rollout.candidate, error)
            return Tried(None, "error", time.perf_counter() - started)

    def _late(self, future: "Future[Tried]", aside: "_Aside") -> Tried:
        """Its turn never came, or it hangs: then its thread is left behind, to end when it can."""
        if future.cancel():
            return Tried(None, "busy")
        self._hangs += 1
        if self._aside is aside:
            self._aside = _Aside()
            aside.stop()
        return Tried(None, "timeout", self._timeout)

    def shadow(self, asked: Request, context: Context, shown: Answer) -> None:
        """Compute after the champion has answered, off the request's path: a few times a second, not at all when busy."""
        now = time.monotonic()
        if now >= self._next_shadow:
            self._next_shadow = now + _SHADOW_GAP
            self._aside.offer(lambda: self._note(self._compared(asked, context, shown)))

    def close(self) -> None:
        """Let the thread end."""
        self._aside.stop()

    def _compared(self, asked: Request, context: Context, shown: Answer) -> dict[str, Any]:
        started = time.perf_counter()
        row: dict[str, Any] = {"rollout": self.rollout.id, "fault": None, "overlap": 0.0}
        try:
            answer = self._opened.answer(asked, context)
            if fits(answer, asked):
                theirs = {i.product_id for i in shown.items}
                both = theirs & {i.product_id for i in answer.items}
                row["overlap"] = len(both) / len(theirs) if theirs else 1.0
            else:
                row["fault"] = "shape"
        except Exception as error:  # noqa: BLE001 - a shadow must not disturb anything
            _LOG.warning("the candidate %s failed in the shadow: %r", self.rollout.candidate, error)
            row["fault"] = "error"
        return row | {"seconds": time.perf_counter() - started}


def fits(answer: Any, asked: Request) -> bool:
    """An answer that may be shown: ranked products, each once, with finite scores, no more than asked for, none missing."""
    if not isinstance(answer, Answer) or len(answer.items) > asked.limit:
        return False
    if not answer.items and answer.total > asked.offset:
        return False
    ids = [i.product_id for i in answer.items]
    return len(set(ids)) == len(ids) and all(ids) and all(math.isfinite(i.score) for i in answer.items)


class _Aside:
    """A daemon thread that does one piece of work after the other."""

    def __init__(self) -> None:
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue(_QUEUE)
        threading.Thread(target=self._run, name="candidate", daemon=True).start()

    def do(self, work: Callable[[], Tried]) -> "Future[Tried] | None":
        """The result to come of ``work``, which may be cancelled until it begins; None where there is no room."""
        future: Future[Tried] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            future.set_result(work())

        return future if self.offer(run) else None

    def offer(self, work: Callable[[], None] | None) -> bool:
        """Do it if there is room; nobody ever waits for room."""
        try:
            self._work.put_nowait(work)
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        self.offer(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
