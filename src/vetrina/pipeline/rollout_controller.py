"""Moves a release among shoppers on: reads its evidence from the log, lets ``release`` decide, writes what was decided."""

from dataclasses import replace
from uuid import uuid4

from vetrina.core import clock
from vetrina.core.rollout_types import (
    INTERLEAVED,
    INTERLEAVING,
    SHADOW,
    LogHealth,
    OutcomeStatistics,
    Rollout,
    RolloutDecision,
    RolloutEvidence,
)
from vetrina.core.types import Reason
from vetrina.pipeline.shop_context import ShopContext
from vetrina.release.decision import decide, guardrail_limits
from vetrina.release.evidence import (
    count_preferences,
    log_health,
    pre_release_statistics,
    statistics_by_outcome,
    unit_outcomes,
)
from vetrina.store import event_log
from vetrina.store.rollouts import RolloutState, RunningRollout

_FINAL_STATES: dict[str, RolloutState] = {"promote": "promoted", "roll back": "rolled back", "return": "returned"}
_MAX_CLOCK_SKEW_SECONDS = 3_600.0
_CHECKS_PER_OUTCOME_WINDOW = 30


def start_rollout(shop_context: ShopContext, scenario: str, candidate: str, champion: str) -> Rollout:
    """Send a candidate that the gate let pass among shoppers, in the shadow first. Raises Conflict if another is there.

    Repeated for the same candidate it changes nothing.
    """
    there = shop_context.rollouts.running().get(scenario)
    if there is not None and there.rollout.candidate == candidate:
        return there.rollout
    now = clock.now()
    rules = shop_context.folder.settings.release
    target = _slow_seconds(shop_context)
    since = now - rules.pre_period_days * clock.DAY
    # Only the champion's own answers say what is usual: another version before it may have done better or worse.
    answers = [a for a in event_log.list_answers(shop_context.engine, scenario, since, now) if a["version"] == champion]
    events = event_log.list_events(shop_context.engine, since, now + _MAX_CLOCK_SKEW_SECONDS)
    named = event_log.answers_by_request_id(
        shop_context.engine, {e["request_id"] for e in events if e.get("request_id")}
    )
    before, expected = pre_release_statistics(answers, events, named, rules, now, target)
    salt = uuid4().hex
    name = uuid4().hex[:12]
    rollout = Rollout(
        name, scenario, candidate, champion, salt, now, now, tuple(rules.steps), screen=rules.interleaving_share
    )
    shop_context.rollouts.start(RunningRollout(rollout, before, RolloutEvidence(now), rules), expected)
    return rollout


def reconcile_rollout(shop_context: ShopContext, running: RunningRollout, now: float) -> RolloutDecision:
    """One look: gather, decide, act. Raises Conflict when another controller was faster; nothing is changed then."""
    current, _ = shop_context.registry.champion(running.rollout.scenario)
    if current != running.rollout.champion:
        text = f"{current} serves {running.rollout.scenario} now: there is nothing left to compare with"
        decision = RolloutDecision("return", (Reason("champion-changed", False, text),))
        shop_context.rollouts.record_decision(running, running.seen, decision, running.rollout, "returned", now)
        return decision
    seen = gather_evidence(shop_context, running, now)
    decision = decide(running.rollout, running.before, seen, running.rules, now)
    if decision.action == "stay":
        shop_context.rollouts.record_evidence(running, seen)
        return decision
    moved = running.rollout
    if decision.action == "advance":
        chosen = guardrail_limits(running.before, seen, running.rules)
        moved = replace(moved, step=moved.following_step(), stepped=now, limits=chosen)
        seen = replace(seen, until=now)
    shop_context.rollouts.record_decision(
        running, seen, decision, moved, _FINAL_STATES.get(decision.action, "running"), now
    )
    return decision


def gather_evidence(shop_context: ShopContext, running: RunningRollout, now: float) -> RolloutEvidence:
    """The evidence up to ``now``: what was counted before stays, units whose time to act has ended since come in."""
    rollout = running.rollout
    rules = running.rules
    seen = running.seen
    engine = shop_context.engine
    target = _slow_seconds(shop_context)
    shadow = shop_context.rollouts.shadow_evidence(rollout.id, target)
    seconds = rules.attribution_window_minutes * 60
    if rollout.step == SHADOW:
        return replace(seen, shadow=shadow)
    if rollout.step == INTERLEAVING:
        return _gather_interleaving(shop_context, running, replace(seen, shadow=shadow), now)
    limits_so_far = [*(s.limits for s in seen.steps[: rollout.step]), rollout.limits]
    steps = shop_context.rollouts.step_evidence(rollout, limits_so_far, target)
    until = now - seconds
    if until - seen.until < seconds / _CHECKS_PER_OUTCOME_WINDOW:
        # A look at outcomes reads all that lies within their time: not too often.
        return replace(seen, steps=steps, shadow=shadow)
    first = event_log.first_exposures(engine, rollout.id, rollout.step, seen.until, until)
    here = (rollout.id, rollout.step)
    shown = event_log.list_answers(engine, rollout.scenario, seen.until, now)
    answers = [a for a in shown if (a["rollout"], a["step"]) == here]
    events = event_log.list_events(engine, seen.until - _MAX_CLOCK_SKEW_SECONDS, now + _MAX_CLOCK_SKEW_SECONDS)
    named = event_log.answers_by_request_id(engine, {e["request_id"] for e in events if e.get("request_id")})
    found = unit_outcomes(first, answers, events, named, seconds)
    expected = shop_context.rollouts.expected_outcomes(rollout.id, found.unit_ids)
    more = statistics_by_outcome(found, expected, running.before, rollout.canary_share)
    outcomes = {name: seen.outcomes.get(name, OutcomeStatistics()) + more[name] for name in more}
    fresh = [e for e in events if seen.until < e["time"] <= until]
    log = seen.log + (log_health(fresh, named) if fresh else LogHealth())
    return RolloutEvidence(until, outcomes, steps, shadow, log)


def _gather_interleaving(
    shop_context: ShopContext, running: RunningRollout, evidence: RolloutEvidence, now: float
) -> RolloutEvidence:
    """What mixed lists showed: units whose time to act has ended since the last look come in."""
    rollout = running.rollout
    seconds = running.rules.attribution_window_minutes * 60
    engine = shop_context.engine
    answers, faults = shop_context.rollouts.interleaving_counts(rollout.id)
    screen = replace(evidence.screen, answers=answers, faults=faults)
    until = now - seconds
    if until - evidence.until < seconds / _CHECKS_PER_OUTCOME_WINDOW:
        return replace(evidence, screen=screen)
    first = event_log.first_exposures(engine, rollout.id, INTERLEAVING, evidence.until, until)
    shown = event_log.list_answers(engine, rollout.scenario, evidence.until, now, with_items=True)
    mixed = [a for a in shown if a["rollout"] == rollout.id and a["arm"] == INTERLEAVED]
    events = event_log.list_events(engine, evidence.until - _MAX_CLOCK_SKEW_SECONDS, now + _MAX_CLOCK_SKEW_SECONDS)
    named = event_log.answers_by_request_id(engine, {e["request_id"] for e in events if e.get("request_id")})
    wins, losses, ties = count_preferences(first, mixed, events, named, seconds)
    more = replace(screen, wins=screen.wins + wins, losses=screen.losses + losses, ties=screen.ties + ties)
    return replace(evidence, until=until, screen=more)


def _slow_seconds(shop_context: ShopContext) -> float:
    return shop_context.folder.settings.gate.latency_ms / 1e3
