"""Rollout controller: prepares canaries and watches, reads their evidence, records what the release stage decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import uuid4

import numpy as np

from vetrina.core import clock
from vetrina.core.exposures import Exposure
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.rollout_types import (
    INTERLEAVED,
    INTERLEAVING,
    SHADOW,
    GuardrailLimits,
    LogHealth,
    OutcomeStatistics,
    PreReleaseStatistics,
    Rollout,
    RolloutDecision,
    RolloutEvidence,
)
from vetrina.pipeline.shop_context import ShopContext
from vetrina.release.decision import decide, guardrail_limits, outcome_effects
from vetrina.release.decision_time import TrafficEstimate
from vetrina.release.evidence import (
    count_preferences,
    log_health,
    statistics_by_outcome,
    unit_outcomes,
)
from vetrina.release.pre_release import PreReleaseLog
from vetrina.store import event_queries, exposure_queries, monitoring_results
from vetrina.store.monitoring_results import ReleaseEffects
from vetrina.store.rollouts import NewRollout, RolloutState, RunningRollout

_FINAL_STATES: dict[str, RolloutState] = {"promote": "promoted", "roll back": "rolled back", "return": "returned"}
_MAX_CLOCK_SKEW_SECONDS = 3_600.0  # between a client's clock and the service's
_PIECE_ROWS = 20_000  # of the log that are read at once, on average
_CHECKS_PER_OUTCOME_WINDOW = 30  # how often outcomes are read again within their attribution window


@dataclass(frozen=True)
class PreReleaseEvidence:
    """What the log says about the time before a release.

    Attributes:
        statistics: Outcomes and answers with the champion.
        expected_outcomes: (clicks, conversion, revenue) by unit that was active with the champion.
        traffic: Units a day with whatever version, and their primary outcome.
    """

    statistics: PreReleaseStatistics
    expected_outcomes: Mapping[str, tuple[float, float, float]]
    traffic: TrafficEstimate


def read_pre_release(shop_context: ShopContext, scenario: str, champion: str, now: float) -> PreReleaseEvidence:
    """Read the ``pre_period_days`` before a release from the log.

    Args:
        shop_context: The shop.
        scenario: Scenario of the champion.
        champion: The version that a candidate is compared with.
        now: Start of the release, seconds since 1970.
    """
    settings = shop_context.folder.settings.release
    engine = shop_context.engine
    since = now - settings.pre_period_days * clock.DAY
    until = now + _MAX_CLOCK_SKEW_SECONDS
    log = PreReleaseLog(scenario, champion, settings, (since, now), _slow_seconds(shop_context))
    for start, end in _pieces(shop_context, scenario, since, until):
        log.add_answers(exposure_queries.list_exposures(engine, scenario, start, min(end, now)))
        events = event_queries.list_events(engine, start, end)
        log.add_events(events, _answers_named_by(shop_context, events))
    statistics, expected = log.statistics()
    return PreReleaseEvidence(statistics, expected, log.traffic())


def _pieces(shop_context: ShopContext, scenario: str, since: float, until: float) -> list[tuple[float, float]]:
    """Spans of time whose part of the log fits into memory: two weeks of it may not."""
    engine = shop_context.engine
    n_answers = sum(exposure_queries.count_exposures(engine, scenario, since, until).values())
    n_pieces = 1 + (n_answers + event_queries.count_events(engine, since, until)) // _PIECE_ROWS
    bounds = np.linspace(since, until, n_pieces + 1).tolist()
    return list(pairwise(bounds))


def new_canary(
    shop_context: ShopContext, scenario: str, candidate: str, champion: str, pre_release: PreReleaseEvidence, now: float
) -> NewRollout:
    """The canary of a candidate, which begins as a shadow.

    Args:
        shop_context: The shop.
        scenario: Scenario of both versions.
        candidate: Version to test.
        champion: Version that serves.
        pre_release: The time before.
        now: Start of the canary, seconds since 1970.
    """
    settings = shop_context.folder.settings.release
    rollout = Rollout(
        uuid4().hex[:12],
        scenario,
        candidate,
        champion,
        salt=uuid4().hex,
        started=now,
        stepped=now,
        shares=tuple(settings.steps),
        screen=settings.interleaving_share,
    )
    running = RunningRollout(rollout, pre_release.statistics, RolloutEvidence(now), settings)
    return NewRollout(running, pre_release.expected_outcomes)


def new_watch(
    shop_context: ShopContext, scenario: str, version: str, before: str, pre_release: PreReleaseEvidence, now: float
) -> NewRollout:
    """The watch of a version that is promoted at the same moment; the version before answers the holdback.

    Args:
        shop_context: The shop.
        scenario: Scenario of both versions.
        version: Version to watch.
        before: The champion before it.
        pre_release: The time before.
        now: Start of the watch, seconds since 1970.
    """
    settings = shop_context.folder.settings.release
    evidence = RolloutEvidence(now)
    rollout = Rollout(
        uuid4().hex[:12],
        scenario,
        version,
        before,
        salt=uuid4().hex,
        started=now,
        stepped=now,
        shares=(1.0 - settings.holdback_share,),
        step=0,
        limits=guardrail_limits(pre_release.statistics, evidence, settings),
        kind="watch",
    )
    running = RunningRollout(rollout, pre_release.statistics, evidence, settings)
    return NewRollout(running, pre_release.expected_outcomes)


def start_rollout(shop_context: ShopContext, scenario: str, candidate: str, champion: str) -> Rollout:
    """Start the canary of a candidate that bypasses the gate, as a shadow first.

    Repeated for the same candidate it changes nothing.

    Args:
        shop_context: The shop.
        scenario: Scenario of both versions.
        candidate: Version to release.
        champion: Version that serves.

    Returns:
        The release.

    Raises:
        Conflict: Another candidate of the scenario is being released.
    """
    running = shop_context.rollouts.running().get(scenario)
    if running is not None and running.rollout.candidate == candidate:
        return running.rollout
    now = clock.now()
    pre_release = read_pre_release(shop_context, scenario, champion, now)
    new = new_canary(shop_context, scenario, candidate, champion, pre_release, now)
    shop_context.rollouts.start(new)
    return new.running.rollout


def reconcile_rollout(shop_context: ShopContext, running: RunningRollout, now: float) -> RolloutDecision:
    """Gather the evidence of a release, decide, and record the decision.

    Raises Conflict, and changes nothing, where another controller was faster.
    """
    rollout = running.rollout
    current_champion, _ = shop_context.registry.champion(rollout.scenario)
    if current_champion != rollout.served_version:
        return shop_context.rollouts.end_overtaken(running, current_champion, now)
    evidence = gather_evidence(shop_context, running, now)
    decision = decide(rollout, running.before, evidence, running.rules, now)
    effects = ReleaseEffects(rollout.id, outcome_effects(evidence, running.rules))
    monitoring_results.save_effects(shop_context.engine, rollout.scenario, effects)
    if decision.action == "stay":
        shop_context.rollouts.record_evidence(running, evidence)
        return decision
    if decision.action == "advance":
        limits = guardrail_limits(running.before, evidence, running.rules)
        rollout = replace(rollout, step=rollout.following_step(), stepped=now, limits=limits)
        evidence = replace(evidence, until=now)
    state = _FINAL_STATES.get(decision.action, "running")
    shop_context.rollouts.record_decision(running, evidence, decision, rollout, state, now)
    return decision


def gather_evidence(shop_context: ShopContext, running: RunningRollout, now: float) -> RolloutEvidence:
    """The evidence of a release up to ``now``.

    What was counted before stays; units whose attribution window has ended since then are added.
    """
    rollout = running.rollout
    earlier = running.seen
    slow_seconds = _slow_seconds(shop_context)
    shadow = shop_context.rollouts.shadow_evidence(rollout.id, slow_seconds)
    if rollout.step == SHADOW:
        return replace(earlier, shadow=shadow)
    if rollout.step == INTERLEAVING:
        return _gather_interleaving(shop_context, running, replace(earlier, shadow=shadow), now)
    limits_by_step: list[GuardrailLimits] = [step.limits for step in earlier.steps[: rollout.step]]
    limits_by_step.append(rollout.limits)
    steps = shop_context.rollouts.step_evidence(rollout, limits_by_step, slow_seconds)
    evidence = replace(earlier, steps=steps, shadow=shadow)
    until = _end_of_finished_windows(running, evidence, now)
    if until is None:
        return evidence
    return _gather_outcomes(shop_context, running, evidence, until, now)


def _gather_outcomes(
    shop_context: ShopContext, running: RunningRollout, evidence: RolloutEvidence, until: float, now: float
) -> RolloutEvidence:
    """``evidence`` with the outcomes of units whose attribution window ended before ``until``, and the health of the log."""
    rollout = running.rollout
    engine = shop_context.engine
    since = evidence.until
    first_answer_times = exposure_queries.first_exposure_times(engine, rollout.id, rollout.step, since, until)
    answers = [
        answer
        for answer in exposure_queries.list_exposures(engine, rollout.scenario, since, now, rollout=rollout.id)
        if answer.step == rollout.step
    ]
    events = event_queries.list_events(engine, since - _MAX_CLOCK_SKEW_SECONDS, now + _MAX_CLOCK_SKEW_SECONDS)
    named_answers = _answers_named_by(shop_context, events)
    units = unit_outcomes(
        first_answer_times, answers, events, named_answers, _window_seconds(running), rollout.candidate_arm
    )
    expected = shop_context.rollouts.expected_outcomes(rollout.id, units.unit_ids)
    new_statistics = statistics_by_outcome(units, expected, running.before, rollout.candidate_share)
    outcomes = {
        name: evidence.outcomes.get(name, OutcomeStatistics()) + statistics
        for name, statistics in new_statistics.items()
    }
    new_events = [event for event in events if since < event.time <= until]
    new_health = LogHealth()
    if new_events:
        new_health = log_health(new_events, named_answers)
    return RolloutEvidence(until, outcomes, evidence.steps, evidence.shadow, evidence.log + new_health)


def _gather_interleaving(
    shop_context: ShopContext, running: RunningRollout, evidence: RolloutEvidence, now: float
) -> RolloutEvidence:
    """``evidence`` with the preferences in interleaved answers of units whose attribution window has ended."""
    rollout = running.rollout
    engine = shop_context.engine
    n_answers, n_faults = shop_context.rollouts.interleaving_counts(rollout.id)
    screen = replace(evidence.screen, answers=n_answers, faults=n_faults)
    until = _end_of_finished_windows(running, evidence, now)
    if until is None:
        return replace(evidence, screen=screen)
    since = evidence.until
    first_answer_times = exposure_queries.first_exposure_times(engine, rollout.id, INTERLEAVING, since, until)
    interleaved = [
        answer
        for answer in exposure_queries.list_exposures(
            engine, rollout.scenario, since, now, with_items=True, rollout=rollout.id
        )
        if answer.arm == INTERLEAVED
    ]
    events = event_queries.list_events(engine, since - _MAX_CLOCK_SKEW_SECONDS, now + _MAX_CLOCK_SKEW_SECONDS)
    named_answers = _answers_named_by(shop_context, events)
    wins, losses, ties = count_preferences(
        first_answer_times, interleaved, events, named_answers, _window_seconds(running)
    )
    screen = replace(screen, wins=screen.wins + wins, losses=screen.losses + losses, ties=screen.ties + ties)
    return replace(evidence, until=until, screen=screen)


def _end_of_finished_windows(running: RunningRollout, evidence: RolloutEvidence, now: float) -> float | None:
    """Until when answers have a finished attribution window; None if that is hardly later than at the last reading.

    A reading scans the log of a whole window, so it must not be repeated too often.
    """
    window_seconds = _window_seconds(running)
    until = now - window_seconds
    if until - evidence.until < window_seconds / _CHECKS_PER_OUTCOME_WINDOW:
        return None
    return until


def _window_seconds(running: RunningRollout) -> float:
    return running.rules.attribution_window_minutes * 60


def _answers_named_by(shop_context: ShopContext, events: Sequence[LoggedEvent]) -> Mapping[str, Exposure]:
    """The answers that events name by request id."""
    request_ids = {event.request_id for event in events if event.request_id}
    return exposure_queries.exposures_by_request_id(shop_context.engine, request_ids)


def _slow_seconds(shop_context: ShopContext) -> float:
    """Seconds beyond which an answer is slow."""
    return shop_context.folder.settings.gate.latency_ms / 1e3
