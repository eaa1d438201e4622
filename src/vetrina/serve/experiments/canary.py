"""Canary client: queries a candidate under a timeout; the champion answers when it fails.

During a watch it queries the version before the champion in the same way; "candidate" stands for both here.

The candidate answers in a thread of its own, one request after the other, while the event loop goes on with other requests. If
it raises, is late or returns an invalid answer, the champion answers the same request. After three timeouts this worker stops
querying the candidate (circuit breaker).
"""

import asyncio
import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from vetrina.core.answers import Answer
from vetrina.core.errors import describe_cause
from vetrina.core.exposures import ShadowAnswer
from vetrina.core.protocols import Context
from vetrina.core.requests import Request
from vetrina.core.rollout_types import SHADOW, Rollout

_MAX_TIMEOUTS = 3  # timeouts after which the candidate is not queried any more
_MAX_QUEUED_TASKS = 32  # requests that wait for the candidate's thread
_MAX_HANGING_THREADS = 8  # of all candidates of this process, each until its call returns
_MIN_SHADOW_INTERVAL_SECONDS = 0.05
# Why a candidate gave no answer: its bundle is not open yet; it raised an error, took too long, or answered what is no answer; it
# still hangs in an earlier request; or its turn did not come before the timeout.
FAULTS = ("unopened", "error", "timeout", "shape", "hanging", "busy")
ShadowLogger = Callable[[ShadowAnswer], None]
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class CandidateAnswer:
    """The candidate's answer, or why there is none.

    ``fault`` is one of FAULTS. ``seconds`` are those that the candidate itself took, without the wait for its turn; 0 where it
    was not queried.
    """

    answer: Answer | None
    fault: str | None
    seconds: float = 0.0


class CandidateClient:
    """The client of one candidate in a rollout."""

    def __init__(self, rollout: Rollout, loaded_bundle: Any, timeout_seconds: float, log_shadow: ShadowLogger) -> None:
        """Starts the candidate's thread.

        Args:
            rollout: the rollout at its present step.
            loaded_bundle: the candidate's loaded bundle, None if it could not be loaded.
            timeout_seconds: how long a request waits for the candidate.
            log_shadow: logs a shadow answer.
        """
        self.rollout = rollout
        self._loaded_bundle = loaded_bundle
        self._timeout_seconds = timeout_seconds
        self._log_shadow = log_shadow
        self._timeouts = 0
        self._next_shadow_time = 0.0
        self._lock = threading.Lock()  # of the thread's replacement and its end
        self._is_closed = False
        self._thread = _CandidateThread()

    def set_rollout(self, rollout: Rollout) -> "CandidateClient":
        """This client, at another step of the rollout; shadow answers that wait are dropped at its end."""
        if self.rollout.step == SHADOW and rollout.step != SHADOW:
            self._thread.empty()
        self.rollout = rollout
        return self

    @property
    def loaded_bundle(self) -> Any | None:
        """The candidate's loaded bundle, None while it cannot be loaded."""
        return self._loaded_bundle

    def set_bundle(self, loaded_bundle: Any) -> None:
        """Query this bundle from now on; None while it cannot be loaded."""
        self._loaded_bundle = loaded_bundle

    async def answer(self, request: Request, context: Context) -> CandidateAnswer:
        """The candidate's answer within the timeout; the event loop does other work meanwhile."""
        if self._loaded_bundle is None:
            return CandidateAnswer(None, "unopened")
        if self._timeouts >= _MAX_TIMEOUTS or _hanging_threads.is_full():
            return CandidateAnswer(None, "hanging")
        thread = self._thread
        future = thread.submit(lambda: self._compute_answer(request, context))
        if future is None:
            return CandidateAnswer(None, "busy")
        pending = asyncio.wrap_future(future)
        try:
            await asyncio.wait([pending], timeout=self._timeout_seconds)
            if pending.done():
                return pending.result()
            return self._handle_timeout(future, thread)
        finally:
            pending.cancel()  # nobody waits for it any more; an answer that is there already stays

    def _compute_answer(self, request: Request, context: Context) -> CandidateAnswer:
        """The answer or its fault; runs in the candidate's thread."""
        started = time.perf_counter()
        try:
            answer = self._loaded_bundle.answer(request, context)
            seconds = time.perf_counter() - started
            if is_valid_answer(answer, request):
                return CandidateAnswer(answer, None, seconds)
            return CandidateAnswer(None, "shape", seconds)
        except BaseException as error:  # noqa: BLE001 - whatever it is, even a panic of a Rust library, the champion answers
            _LOG.warning("%s failed: %r", self.rollout.alternative_version, error)
            return CandidateAnswer(None, "error", time.perf_counter() - started)

    def _handle_timeout(self, future: "Future[CandidateAnswer]", thread: "_CandidateThread") -> CandidateAnswer:
        """Busy if its turn did not come. Else it hangs: a new thread takes over, and this one ends when it can.

        Once the client is closed, its thread ends already and no other one is needed.
        """
        if future.cancel():
            return CandidateAnswer(None, "busy")
        self._timeouts += 1
        with self._lock:
            if self._thread is thread and not self._is_closed:
                self._thread = _CandidateThread()
                thread.abandon()
        return CandidateAnswer(None, "timeout", self._timeout_seconds)

    def shadow(self, request: Request, context: Context, champion_answer: Answer) -> None:
        """Compute a shadow answer after the champion's: in the thread, a few times a second, not at all when it is busy."""
        if self._loaded_bundle is None:
            return
        now = time.monotonic()
        if now >= self._next_shadow_time:
            self._next_shadow_time = now + _MIN_SHADOW_INTERVAL_SECONDS
            self._thread.submit_if_free(
                lambda: self._log_shadow(self._answer_in_shadow(request, context, champion_answer))
            )

    def close(self) -> None:
        """Let the thread end."""
        with self._lock:
            self._is_closed = True
            self._thread.abandon()

    def _answer_in_shadow(self, request: Request, context: Context, champion_answer: Answer) -> ShadowAnswer:
        """Fault, seconds, and the share of the champion's products that the candidate's answer has too."""
        candidate = self._compute_answer(request, context)
        overlap = 0.0
        if candidate.answer is not None:
            overlap = _overlap(champion_answer, candidate.answer)
        return ShadowAnswer(self.rollout.id, candidate.seconds, candidate.fault, overlap)


def is_valid_answer(answer: Any, request: Request) -> bool:
    """Whether an answer may be returned: distinct products with finite scores, at most ``limit``, none only if none match."""
    if not isinstance(answer, Answer) or len(answer.items) > request.limit:
        return False
    if not answer.items and answer.total > request.offset:
        return False
    product_ids = [item.product_id for item in answer.items]
    if len(set(product_ids)) < len(product_ids) or not all(product_ids):
        return False
    return all(math.isfinite(item.score) for item in answer.items)


def _overlap(champion_answer: Answer, candidate_answer: Answer) -> float:
    """Share of the champion's products in the candidate's answer; 1 if the champion returned none."""
    champion_ids = {item.product_id for item in champion_answer.items}
    candidate_ids = {item.product_id for item in candidate_answer.items}
    if not champion_ids:
        return 1.0
    return len(champion_ids & candidate_ids) / len(champion_ids)


class _HangingThreads:
    """Number of threads in which a candidate hangs: Python cannot end a thread, so there must not be ever more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    def add(self, change: int) -> None:
        """Count one more, or one less."""
        with self._lock:
            self._number += change

    def is_full(self) -> bool:
        """Whether no candidate may be queried any more until one of them returns."""
        return self._number >= _MAX_HANGING_THREADS


_hanging_threads = _HangingThreads()


class _CandidateThread:
    """A daemon thread that runs one task after the other."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(_MAX_QUEUED_TASKS)
        self._is_abandoned = False
        threading.Thread(target=self._run, name="candidate", daemon=True).start()

    def submit(self, compute: Callable[[], CandidateAnswer]) -> "Future[CandidateAnswer] | None":
        """The future result of ``compute``, which can be cancelled until it starts; None where the queue is full."""
        future: Future[CandidateAnswer] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            future.set_result(compute())

        return future if self.submit_if_free(run) else None

    def submit_if_free(self, task: Callable[[], None] | None) -> bool:
        """Queue a task, None to end the thread; False where the queue is full. Never blocks."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            return False
        return True

    def empty(self) -> None:
        """Drop the tasks that wait."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()

    def abandon(self) -> None:
        """End the thread after its present task; until then it counts as one that hangs."""
        self._is_abandoned = True
        _hanging_threads.add(1)
        self.empty()
        self.submit_if_free(None)

    def _run(self) -> None:
        while not self._is_abandoned:
            task = self._tasks.get()
            if task is None:
                break
            try:
                task()
            except Exception as error:  # noqa: BLE001 - a shadow answer that cannot be logged must not end the thread
                _LOG.error("a task of a candidate failed (%s)", describe_cause(error))
        _hanging_threads.add(-1)
