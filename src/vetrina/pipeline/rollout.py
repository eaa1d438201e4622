"""Moves a release among shoppers on: reads its evidence from the log, lets ``release`` decide, writes what was decided."""

from dataclasses import replace
from uuid import uuid4

from vetrina.core import clock
from vetrina.core.rollout import INTERLEAVED, SCREEN, SHADOW, Decision, LogHealth, Rollout, Seen, Sums
from vetrina.core.types import Reason
from vetrina.pipeline.workshop import Workshop
from vetrina.release.evidence import added, before_release, log_health, preferences, units
from vetrina.release.live import limits, next_step
from vetrina.store import eventlog
from vetrina.store.rollouts import State, UnderWay

_ENDS: dict[str, State] = {"promote": "promoted", "roll back": "rolled back", "return": "returned"}
_SKEW, _PARTS = 3_600.0, 30


def start(workshop: Workshop, scenario: str, candidate: str, champion: str) -> Rollout:
    """Send a candidate that the gate let pass among shoppers, in the shadow first. Raises Conflict if another is there.

    Repeated for the same candidate it changes nothing.
    """
    there = workshop.rollouts.running().get(scenario)
    if there is not None and there.rollout.candidate == candidate:
        return there.rollout
    now, rules = clock.now(), workshop.shop.settings.release
    target = _target(workshop)
    since = now - rules.before_days * clock.DAY
    # Only the champion's own answers say what is usual: another version before it may have done better or worse.
    answers = [a for a in eventlog.shown(workshop.engine, scenario, since, now) if a["version"] == champion]
    events = eventlog.happened(workshop.engine, since, now + _SKEW)
    named = eventlog.answers_named(workshop.engine, {e["request_id"] for e in events if e.get("request_id")})
    before, expected = before_release(answers, events, named, rules, now, target)
    salt, name = uuid4().hex, uuid4().hex[:12]
    rollout = Rollout(name, scenario, candidate, champion, salt, now, now, tuple(rules.steps), screen=rules.screen)
    workshop.rollouts.begin(UnderWay(rollout, before, Seen(now), rules), expected)
    return rollout


def move_on(workshop: Workshop, known: UnderWay, now: float) -> Decision:
    """One look: gather, decide, act. Raises Conflict when another controller was faster; nothing is changed then."""
    current, _ = workshop.registry.champion(known.rollout.scenario)
    if current != known.rollout.champion:
        text = f"{current} serves {known.rollout.scenario} now: there is nothing left to compare with"
        decision = Decision("return", (Reason("champion-changed", False, text),))
        workshop.rollouts.decide(known, known.seen, decision, known.rollout, "returned", now)
        return decision
    seen = gather(workshop, known, now)
    decision = next_step(known.rollout, known.before, seen, known.rules, now)
    if decision.action == "stay":
        workshop.rollouts.look(known, seen)
        return decision
    moved = known.rollout
    if decision.action == "advance":
        chosen = limits(known.before, seen, known.rules)
        moved = replace(moved, step=moved.advanced(), stepped=now, limits=chosen)
        seen = replace(seen, until=now)
    workshop.rollouts.decide(known, seen, decision, moved, _ENDS.get(decision.action, "running"), now)
    return decision


def gather(workshop: Workshop, known: UnderWay, now: float) -> Seen:
    """The evidence up to ``now``: what was counted before stays, units whose time to act has ended since come in."""
    rollout, rules, seen = known.rollout, known.rules, known.seen
    engine, target = workshop.engine, _target(workshop)
    shadow = workshop.rollouts.shadow(rollout.id, target)
    seconds = rules.outcome_minutes * 60
    if rollout.step == SHADOW:
        return replace(seen, shadow=shadow)
    if rollout.step == SCREEN:
        return _screened(workshop, known, replace(seen, shadow=shadow), now)
    limits_so_far = [*(s.limits for s in seen.steps[: rollout.step]), rollout.limits]
    steps = workshop.rollouts.steps(rollout, limits_so_far, target)
    until = now - seconds
    if until - seen.until < seconds / _PARTS:
        # A look at outcomes reads all that lies within their time: not too often.
        return replace(seen, steps=steps, shadow=shadow)
    first = eventlog.first_met(engine, rollout.id, rollout.step, seen.until, until)
    here = (rollout.id, rollout.step)
    shown = eventlog.shown(engine, rollout.scenario, seen.until, now)
    answers = [a for a in shown if (a["rollout"], a["step"]) == here]
    events = eventlog.happened(engine, seen.until - _SKEW, now + _SKEW)
    named = eventlog.answers_named(engine, {e["request_id"] for e in events if e.get("request_id")})
    found = units(first, answers, events, named, seconds)
    expected = workshop.rollouts.expected(rollout.id, found.names)
    more = added(found, expected, known.before, rollout.share)
    outcomes = {name: seen.outcomes.get(name, Sums()) + more[name] for name in more}
    fresh = [e for e in events if seen.until < e["time"] <= until]
    log = seen.log + (log_health(fresh, named) if fresh else LogHealth())
    return Seen(until, outcomes, steps, shadow, log)


def _screened(workshop: Workshop, known: UnderWay, seen: Seen, now: float) -> Seen:
    """What mixed lists showed: units whose time to act has ended since the last look come in."""
    rollout, seconds, engine = known.rollout, known.rules.outcome_minutes * 60, workshop.engine
    answers, faults = workshop.rollouts.interleaved(rollout.id)
    screen = replace(seen.screen, answers=answers, faults=faults)
    until = now - seconds
    if until - seen.until < seconds / _PARTS:
        return replace(seen, screen=screen)
    first = eventlog.first_met(engine, rollout.id, SCREEN, seen.until, until)
    shown = eventlog.shown(engine, rollout.scenario, seen.until, now, items=True)
    mixed = [a for a in shown if a["rollout"] == rollout.id and a["arm"] == INTERLEAVED]
    events = eventlog.happened(engine, seen.until - _SKEW, now + _SKEW)
    named = eventlog.answers_named(engine, {e["request_id"] for e in events if e.get("request_id")})
    wins, losses, ties = preferences(first, mixed, events, named, seconds)
    more = replace(screen, wins=screen.wins + wins, losses=screen.losses + losses, ties=screen.ties + ties)
    return replace(seen, until=until, screen=more)


def _target(workshop: Workshop) -> float:
    return workshop.shop.settings.gate.latency_ms / 1e3
