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
from vetrina.core.rollout_types import Rollout
from vetrina.core.types import Answer, Request

_MAX_TIMEOUTS = 3
_MAX_QUEUED_TASKS = 32
_MIN_SHADOW_INTERVAL_SECONDS = 0.05
ShadowLogger = Callable[[dict[str, Any]], None]
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class CandidateAnswer:
    """The candidate's answer, or why there is none.

    ``fault`` is unopened, error, timeout, shape, hanging, or busy where its turn did not come within the time allowed.
    ``seconds`` are those that the candidate itself took, without the wait for its turn; 0 where it was not asked.
    """

    answer: Answer | None
    fault: str | None
    seconds: float = 0.0


class CandidateClient:
    """One opened candidate with its release. ``opened`` is None if it does not open; ``note`` logs a row of its shadow."""

    def __init__(self, rollout: Rollout, loaded_bundle: Any, timeout_seconds: float, log_shadow: ShadowLogger) -> None:
        self.rollout = rollout
        self._loaded_bundle = loaded_bundle
        self._timeout_seconds = timeout_seconds
        self._log_shadow = log_shadow
        self._timeouts = 0
        self._next_shadow_time = 0.0
        self._thread = _CandidateThread()

    def set_rollout(self, rollout: Rollout) -> "CandidateClient":
        """The same candidate at another step."""
        self.rollout = rollout
        return self

    async def answer(self, request: Request, context: Context) -> CandidateAnswer:
        """Wait for the candidate, but not longer than the time allowed; the event loop does other work meanwhile."""
        if self._loaded_bundle is None:
            return CandidateAnswer(None, "unopened")
        if self._timeouts >= _MAX_TIMEOUTS:
            return CandidateAnswer(None, "hanging")
        aside = self._thread
        future = aside.submit(lambda: self._answered(request, context))
        if future is None:
            return CandidateAnswer(None, "busy")
        tried = asyncio.wrap_future(future)
        try:
            await asyncio.wait([tried], timeout=self._timeout_seconds)
            return tried.result() if tried.done() else self._late(future, aside)
        finally:
            tried.cancel()  # nobody waits for it any more; what is done stays done

    def _answered(self, asked: Request, context: Context) -> CandidateAnswer:
        """In the candidate's thread."""
        started = time.perf_counter()
        try:
            answer = self._loaded_bundle.answer(asked, context)
            seconds = time.perf_counter() - started
            return (
                CandidateAnswer(answer, None, seconds)
                if is_valid_answer(answer, asked)
                else CandidateAnswer(None, "shape", seconds)
            )
        except Exception as error:  # noqa: BLE001 - whatever a candidate does, the champion answers
            _LOG.warning("the candidate %s failed: %r", self.rollout.candidate, error)
            return CandidateAnswer(None, "error", time.perf_counter() - started)

    def _late(self, future: "Future[CandidateAnswer]", aside: "_CandidateThread") -> CandidateAnswer:
        """Its turn never came, or it hangs: then its thread is left behind, to end when it can."""
        if future.cancel():
            return CandidateAnswer(None, "busy")
        self._timeouts += 1
        if self._thread is aside:
            self._thread = _CandidateThread()
            aside.stop()
        return CandidateAnswer(None, "timeout", self._timeout_seconds)

    def shadow(self, request: Request, context: Context, champion_answer: Answer) -> None:
        """Compute after the champion has answered, off the request's path: a few times a second, not at all when busy."""
        now = time.monotonic()
        if now >= self._next_shadow_time:
            self._next_shadow_time = now + _MIN_SHADOW_INTERVAL_SECONDS
            self._thread.submit_if_free(lambda: self._log_shadow(self._shadow_row(request, context, champion_answer)))

    def close(self) -> None:
        """Let the thread end."""
        self._thread.stop()

    def _shadow_row(self, request: Request, context: Context, champion_answer: Answer) -> dict[str, Any]:
        started = time.perf_counter()
        row: dict[str, Any] = {"rollout": self.rollout.id, "fault": None, "overlap": 0.0}
        try:
            answer = self._loaded_bundle.answer(request, context)
            if is_valid_answer(answer, request):
                theirs = {i.product_id for i in champion_answer.items}
                both = theirs & {i.product_id for i in answer.items}
                row["overlap"] = len(both) / len(theirs) if theirs else 1.0
            else:
                row["fault"] = "shape"
        except Exception as error:  # noqa: BLE001 - a shadow must not disturb anything
            _LOG.warning("the candidate %s failed in the shadow: %r", self.rollout.candidate, error)
            row["fault"] = "error"
        return row | {"seconds": time.perf_counter() - started}


def is_valid_answer(answer: Any, request: Request) -> bool:
    """An answer that may be shown: ranked products, each once, with finite scores, no more than asked for, none missing."""
    if not isinstance(answer, Answer) or len(answer.items) > request.limit:
        return False
    if not answer.items and answer.total > request.offset:
        return False
    ids = [i.product_id for i in answer.items]
    return len(set(ids)) == len(ids) and all(ids) and all(math.isfinite(i.score) for i in answer.items)


class _CandidateThread:
    """A daemon thread that does one piece of work after the other."""

    def __init__(self) -> None:
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue(_MAX_QUEUED_TASKS)
        threading.Thread(target=self._run, name="candidate", daemon=True).start()

    def submit(self, work: Callable[[], CandidateAnswer]) -> "Future[CandidateAnswer] | None":
        """The result to come of ``work``, which may be cancelled until it begins; None where there is no room."""
        future: Future[CandidateAnswer] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            future.set_result(work())

        return future if self.submit_if_free(run) else None

    def submit_if_free(self, work: Callable[[], None] | None) -> bool:
        """Do it if there is room; nobody ever waits for room."""
        try:
            self._work.put_nowait(work)
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        self.submit_if_free(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
