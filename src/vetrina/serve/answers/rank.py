"""Ranked answers: from a request to the answer that a visitor gets, and the exposure that is logged of it.

``rank`` reads as the way of a request: read the recent events, choose the arm of the experiment, decide whether to explore,
answer with the arm's version, derive the exposure, record it. Nothing here knows HTTP.
"""

import time
from dataclasses import dataclass
from uuid import uuid4

from vetrina.core.exposures import Exposure
from vetrina.core.rollout_types import CHAMPION
from vetrina.core.types import Answer, Request
from vetrina.scenarios.base import find_ranking_scenario
from vetrina.serve.answers.exposed import logged_items, logged_request
from vetrina.serve.experiments.arms import answer_arm, assign_arm
from vetrina.serve.experiments.canary import CandidateClient
from vetrina.serve.experiments.exploration import Exploration, may_explore
from vetrina.serve.live_state import ServedVersion
from vetrina.serve.recent_events import RecentEventsOfRequest
from vetrina.serve.service import Service


@dataclass(frozen=True)
class RankedAnswer:
    """The answer to a ranking request, its exposure, and whether it was computed without the store."""

    answer: Answer
    exposure: Exposure
    is_degraded: bool


async def rank(service: Service, scenario: str, request: Request) -> RankedAnswer:
    """The ranked answer to a request; it is logged with the propensity of every item.

    Only the waits for recent events and for a candidate give the event loop away; everything else is computed in it.

    Args:
        service: what the routes share.
        scenario: the scenario that answers.
        request: the request, under pseudonyms.

    Raises:
        NotReady: no version of the scenario serves.
        BadInput: the request asks for something that the scenario does not have.
    """
    serving = await service.serving(scenario)
    client = service.candidate_clients.get(scenario)
    recent_events = await _read_recent_events(service, serving, client, request)
    started = time.perf_counter()
    recorder = service.ledger_recorder(scenario)
    context = service.context(recent_events, recorder)

    assignment = assign_arm(client, serving.version, request)
    exploration = _draw_exploration(service, client, request)
    widened = exploration.widened(request)
    given = await answer_arm(serving, assignment, widened, request.limit, context, service.rng)
    answer = exploration.order(given.answer, request.limit, service.rng)
    seconds = time.perf_counter() - started - given.waited_seconds

    counted_rollout = assignment.counted_rollout
    exposure = Exposure(
        request_id=uuid4().hex,
        scenario=scenario,
        version=given.version,
        time=context.now,
        seconds=seconds,
        request_json=logged_request(request, recorder),
        items=logged_items(answer, request.offset),
        arm=assignment.arm or CHAMPION,
        user=request.user,
        session=request.session,
        fault=given.fault,
        rollout=counted_rollout.id if counted_rollout else None,
        step=counted_rollout.step if counted_rollout else None,
    )
    if answer.offers:
        service.ledger.record_answer(exposure, answer.offers)
    service.record(exposure)
    assignment.shadow(request, context, answer)
    if recent_events.is_degraded:
        service.metrics.degraded_answers.labels(scenario).inc()
    return RankedAnswer(answer, exposure, recent_events.is_degraded)


async def answer_unlogged(service: Service, scenario: str, request: Request) -> Answer:
    """The champion's answer to a person who inspects it: no exposure, no experiment, no metric.

    Args:
        service: what the routes share.
        scenario: a scenario that charges nobody, so that it needs no spend ledger.
        request: the request, under pseudonyms.

    Raises:
        NotReady: no version of the scenario serves.
        BadInput: the scenario does not rank products, or the request asks for something that it does not have.
    """
    serving = service.champions.get(find_ranking_scenario(scenario).name)
    recent_events = await _read_recent_events(service, serving, None, request)
    return serving.loaded_bundle.answer(request, service.context(recent_events))


async def _read_recent_events(
    service: Service, serving: ServedVersion, client: CandidateClient | None, request: Request
) -> RecentEventsOfRequest:
    """The recent events of the user or session, for each version that may answer.

    Args:
        service: reads them.
        serving: the served version.
        client: the client of the version beside it, None outside of an experiment.
        request: the request.
    """
    bundles = [serving.loaded_bundle]
    if client is not None and client.loaded_bundle is not None:
        bundles.append(client.loaded_bundle)
    return await service.recent_events_reader.read(request.user, request.session, bundles)


def _draw_exploration(service: Service, client: CandidateClient | None, request: Request) -> Exploration:
    """Whether this answer explores: never during a canary, and in both arms of a watch, so that they stay comparable."""
    share = service.folder.settings.serve.exploration_rate
    is_canary = client is not None and not client.rollout.is_watch
    if not share or is_canary or not may_explore(request):
        return Exploration()
    return Exploration(share, bool(service.rng.random() < share))
