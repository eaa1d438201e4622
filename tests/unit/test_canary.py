"""A candidate behind its guard: one request after the other in a thread of its own, and nobody waits longer than allowed."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vetrina.core.answers import Answer, RankedItem
from vetrina.core.protocols import Context
from vetrina.core.requests import Request
from vetrina.core.rollout_types import Rollout
from vetrina.serve.experiments.canary import CandidateAnswer, CandidateClient

ROLLOUT = Rollout("r", "recommend", "new", "old", "salt", 0.0, 0.0, (0.5,))
CONTEXT = Context(None, None, 0.0)
LONG = 60.0  # seconds, longer than any test takes
SHORT = 0.05  # seconds that a test waits for what does not come


class Panic(BaseException):
    """As a library in Rust raises it: no Exception."""


class Candidate:
    """Answers with the products of the request; a request named "hang" waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.asked: list[str] = []

    def answer(self, request: Request, context: Context) -> Answer:
        """One product, named like the query."""
        self.asked.append(request.query)
        if request.query == "hang":
            self.begun.set()
            self.let_go.wait()
        if request.query == "error":
            raise RuntimeError("as asked for")
        if request.query == "panic":
            raise Panic
        return Answer((RankedItem(request.query, request.query, 1.0),), 1)


@pytest.fixture
def candidate() -> Iterator[Candidate]:
    """Let go at the end, so that its threads end."""
    own_candidate = Candidate()
    yield own_candidate
    own_candidate.let_go.set()


def trial(candidate: object, timeout: float) -> CandidateClient:
    return CandidateClient(ROLLOUT, candidate, timeout, lambda row: None)


def ask(client: CandidateClient, *queries: str) -> list[CandidateAnswer]:
    """All at once."""

    async def together() -> list[CandidateAnswer]:
        return await asyncio.gather(*(client.answer(Request(query=query), CONTEXT) for query in queries))

    return asyncio.run(together())


def wait_until_none_hangs(client: CandidateClient) -> None:
    """Threads that hang are counted for the whole process, so some may be left of a test before."""
    deadline = time.monotonic() + LONG
    while ask(client, "b")[0].fault == "hanging":
        assert time.monotonic() < deadline


def test_requests_are_answered_one_after_the_other_in_their_order(candidate):
    answers = ask(trial(candidate, LONG), "a", "b", "error", "c")
    assert [t.fault for t in answers] == [None, None, "error", None]
    assert [t.answer.items[0].product_id for t in answers if t.answer] == ["a", "b", "c"]
    assert candidate.asked == ["a", "b", "error", "c"]


def test_a_panic_is_an_error_and_the_thread_goes_on(candidate, monkeypatch):
    """What a library in Rust raises is no Exception; neither a request nor a shadow may end the thread by it."""
    monkeypatch.setattr("vetrina.serve.experiments.canary._MIN_SHADOW_INTERVAL_SECONDS", 0.0)
    rows: list[dict] = []
    client = CandidateClient(ROLLOUT, candidate, LONG, rows.append)
    client.shadow(Request(query="panic"), CONTEXT, Answer((), 0))
    assert [answered.fault for answered in ask(client, "panic", "a")] == ["error", None]
    assert [row.fault for row in rows] == ["error"]


def test_requests_whose_turn_does_not_come_are_not_computed_and_are_no_hang(candidate):
    guarded = trial(candidate, SHORT)
    guarded.shadow(Request(query="hang"), CONTEXT, Answer((), 0))
    assert candidate.begun.wait(LONG)
    for _ in range(4):
        assert [t.fault for t in ask(guarded, "a", "b", "c")] == ["busy"] * 3
    assert candidate.asked == ["hang"]


def test_one_that_hangs_three_times_is_asked_no_more(candidate):
    guarded = trial(candidate, SHORT)
    faults: list[str | None] = []
    while "hanging" not in faults:
        faults += [t.fault for t in ask(guarded, "hang")]
    assert faults.count("timeout") == 3
    assert candidate.asked == ["hang"] * 3


def test_what_finds_no_room_is_answered_for_at_once_and_the_rest_in_its_turn(candidate):
    guarded = trial(candidate, LONG)

    async def crowd() -> tuple[set[str | None], set[str | None]]:
        tasks = [asyncio.create_task(guarded.answer(Request(query="hang"), CONTEXT)) for _ in range(60)]
        at_once, later = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        candidate.let_go.set()
        return {t.result().fault for t in at_once}, {t.fault for t in await asyncio.gather(*later)}

    assert asyncio.run(crowd()) == ({"busy"}, {None})


def test_one_that_does_not_open_is_never_waited_for():
    assert ask(trial(None, LONG), "a") == [CandidateAnswer(None, "unopened")]


def test_shadow_answers_that_wait_are_dropped_when_users_meet_the_candidate(candidate, monkeypatch):
    """S39: the first users do not wait behind answers that nobody sees."""
    monkeypatch.setattr("vetrina.serve.experiments.canary._MIN_SHADOW_INTERVAL_SECONDS", 0.0)
    client = trial(candidate, LONG)
    for query in ("hang", "a", "b"):
        client.shadow(Request(query=query), CONTEXT, Answer((), 0))
        assert candidate.begun.wait(LONG)
    client.set_rollout(replace(ROLLOUT, step=0))
    candidate.let_go.set()
    assert [answered.fault for answered in ask(client, "c")] == [None]
    assert candidate.asked == ["hang", "c"]


def test_threads_in_which_candidates_hang_are_bounded(candidate, monkeypatch):
    """S39: Python cannot end a thread, so no candidate is queried while too many hang."""
    monkeypatch.setattr("vetrina.serve.experiments.canary._MAX_HANGING_THREADS", 1)
    other = trial(candidate, LONG)
    wait_until_none_hangs(other)
    assert ask(trial(candidate, SHORT), "hang")[0].fault == "timeout"
    assert ask(other, "a")[0].fault == "hanging"
    candidate.let_go.set()
    wait_until_none_hangs(other)


def test_a_candidate_that_hangs_at_the_end_of_its_release_leaves_no_thread_behind(candidate, monkeypatch):
    """S39: a release may end while a request waits; the thread is given up once, and none is started in its place."""
    monkeypatch.setattr("vetrina.serve.experiments.canary._MAX_HANGING_THREADS", 1)
    wait_until_none_hangs(trial(candidate, LONG))
    n_threads = threading.active_count()
    ended = trial(candidate, SHORT)

    async def end_meanwhile() -> str | None:
        waiting = asyncio.create_task(ended.answer(Request(query="hang"), CONTEXT))
        await asyncio.to_thread(candidate.begun.wait, LONG)
        ended.close()
        return (await waiting).fault

    assert asyncio.run(end_meanwhile()) == "timeout"
    candidate.let_go.set()
    other = trial(candidate, LONG)
    wait_until_none_hangs(other)
    other.close()
    deadline = time.monotonic() + LONG
    while threading.active_count() > n_threads and time.monotonic() < deadline:
        time.sleep(SHORT)
    assert threading.active_count() <= n_threads
