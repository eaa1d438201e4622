"""Arms of a running rollout: which one a request belongs to, and the answer of that arm's version.

Wherever the version of the arm gives no valid answer, the served version answers instead. Nothing is logged here.
"""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.protocols import Context
from vetrina.core.rollout_types import CANARY, HOLDBACK, INTERLEAVED, SHADOW, Rollout
from vetrina.core.types import Answer, Request
from vetrina.serve.experiments.canary import CandidateAnswer, CandidateClient, is_valid_answer
from vetrina.serve.experiments.exploration import may_explore
from vetrina.serve.experiments.interleaving import team_draft
from vetrina.serve.live_state import ServedVersion

_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class Assignment:
    """The experiment that a request takes part in.

    ``rollout`` is the one of the moment when the request came: it stays the same until the answer is logged, whatever the
    follower of the store does meanwhile. ``arm`` is None outside of the experiment.
    """

    client: CandidateClient | None = None
    rollout: Rollout | None = None
    arm: str | None = None

    @property
    def counted_rollout(self) -> Rollout | None:
        """The rollout that the exposure counts for."""
        if self.arm is None:
            return None
        return self.rollout

    def shadow(self, request: Request, context: Context, answer: Answer) -> None:
        """Let the candidate answer in shadow mode, too, if the rollout is at that step.

        Args:
            request: the request.
            context: the context of the answer.
            answer: what the visitor got.
        """
        if self.client is not None and self.rollout is not None and self.rollout.step == SHADOW:
            self.client.shadow(request, context, answer)


@dataclass(frozen=True)
class ArmAnswer:
    """The answer of an arm.

    Attributes:
        answer: Items in the version's own order, or interleaved.
        version: The version that answered.
        fault: Why the version of the arm did not, if another one had to.
        waited_seconds: Time that the event loop spent on other requests meanwhile.
    """

    answer: Answer
    version: str
    fault: str | None = None
    waited_seconds: float = 0.0


def assign_arm(client: CandidateClient | None, served_version: str, request: Request) -> Assignment:
    """The arm of a request in the running rollout.

    There is none while this worker serves another version than the rollout expects: it has yet to follow the champion pointer, or
    could not load the version.

    Args:
        client: the client of the alternative version, None outside of a rollout.
        served_version: the version that this worker serves.
        request: the request.
    """
    if client is None or client.rollout.served_version != served_version:
        return Assignment()
    rollout = client.rollout
    arm = rollout.arm(request.user, request.session)
    if arm == INTERLEAVED and not may_explore(request):
        arm = None  # a later page would repeat products of the interleaved first page
    return Assignment(client, rollout, arm)


async def answer_arm(
    serving: ServedVersion,
    assignment: Assignment,
    request: Request,
    limit: int,
    context: Context,
    rng: np.random.Generator,
) -> ArmAnswer:
    """The answer of the arm's version; the champion's wherever the other version gives none.

    Args:
        serving: the champion.
        assignment: the arm of the request.
        request: what to answer, widened for exploration.
        limit: number of positions of the answer.
        context: recent events, catalogue changes and spend ledger at this moment.
        rng: source of the order in which interleaved versions draw.
    """
    client = assignment.client
    rollout = assignment.rollout
    if client is None or rollout is None:
        return _answer_served(serving, request, context)
    if assignment.arm == INTERLEAVED:
        return await _answer_interleaved(serving, client, request, limit, context, rng)
    if assignment.arm in (CANARY, HOLDBACK):
        return await _answer_alternative(serving, client, rollout, request, context)
    if rollout.is_watch:
        return await _answer_watched(serving, client, request, context)
    return _answer_served(serving, request, context)


def _answer_served(serving: ServedVersion, request: Request, context: Context) -> ArmAnswer:
    return ArmAnswer(serving.loaded_bundle.answer(request, context), serving.version)


async def _answer_interleaved(
    serving: ServedVersion,
    client: CandidateClient,
    request: Request,
    limit: int,
    context: Context,
    rng: np.random.Generator,
) -> ArmAnswer:
    """One list of the items of both versions; the served version's own where the candidate gives none.

    Args:
        serving: the served version.
        client: the client of the candidate.
        request: what to answer.
        limit: number of positions of the answer.
        context: recent events, catalogue changes and spend ledger at this moment.
        rng: source of the order in which the versions draw.
    """
    candidate, waited_seconds = await _query(client, request, context)
    answer = serving.loaded_bundle.answer(request, context)
    if candidate.answer is not None:
        answer = replace(answer, items=team_draft(answer.items, candidate.answer.items, limit, rng))
    return ArmAnswer(answer, serving.version, candidate.fault, waited_seconds)


async def _answer_alternative(
    serving: ServedVersion, client: CandidateClient, rollout: Rollout, request: Request, context: Context
) -> ArmAnswer:
    """The alternative version's answer; the served version's where there is none.

    Args:
        serving: the served version.
        client: the client of the alternative one.
        rollout: the rollout when the request came.
        request: what to answer.
        context: recent events, catalogue changes and spend ledger at this moment.
    """
    candidate, waited_seconds = await _query(client, request, context)
    if candidate.answer is not None:
        return ArmAnswer(candidate.answer, rollout.alternative_version, None, waited_seconds)
    answer = serving.loaded_bundle.answer(request, context)
    return ArmAnswer(answer, serving.version, candidate.fault, waited_seconds)


async def _answer_watched(
    serving: ServedVersion, client: CandidateClient, request: Request, context: Context
) -> ArmAnswer:
    """The answer of a watched champion; that of the version before where the champion fails and the other does not.

    Args:
        serving: the watched champion.
        client: the client of the version before it.
        request: what to answer.
        context: recent events, catalogue changes and spend ledger at this moment.
    """
    try:
        answer = serving.loaded_bundle.answer(request, context)
    except Exception as error:
        instead = await _answer_before(client, request, context, "error")
        if instead is None:
            raise  # the request is to blame: the version before cannot answer it either
        _LOG.warning("the watched version %s failed: %r", serving.version, error)
        return instead
    if not is_valid_answer(answer, request):
        instead = await _answer_before(client, request, context, "shape")
        if instead is not None:
            _LOG.warning("the watched version %s gave an invalid answer", serving.version)
            return instead
    return ArmAnswer(answer, serving.version)


async def _answer_before(client: CandidateClient, request: Request, context: Context, fault: str) -> ArmAnswer | None:
    """The answer of the version before a watched one, which failed with ``fault``; None if it has none either."""
    before, waited_seconds = await _query(client, request, context)
    if before.answer is None:
        return None
    return ArmAnswer(before.answer, client.rollout.alternative_version, fault, waited_seconds)


async def _query(client: CandidateClient, request: Request, context: Context) -> tuple[CandidateAnswer, float]:
    """A client's answer, and the seconds that the event loop spent on other requests meanwhile."""
    started = time.perf_counter()
    candidate = await client.answer(request, context)
    return candidate, time.perf_counter() - started - candidate.seconds
