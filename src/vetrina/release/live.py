"""The stage in mode *live*, pure: what the evidence says of a release among shoppers, looked at any time.

Nothing here reads a log or a clock: the same rollout, evidence and moment give the same decision, so that every decision
on record can be taken again.
"""

from collections.abc import Iterator
from math import log

from vetrina.core.clock import DAY
from vetrina.core.rollout import (
    CLICKS,
    CONVERSION,
    REVENUE,
    SCREEN,
    SHADOW,
    Before,
    Decision,
    Limits,
    Rollout,
    Seen,
    Sums,
)
from vetrina.core.settings import Releases
from vetrina.core.types import Reason
from vetrina.metrics.sequential import effect, log_e_above, log_e_below, log_e_ratio, mixture_ratio, radius

_GUARDRAILS = 7  # the screen, clicks, conversion, revenue, failed answers, slow answers, sample ratio: they share alpha
_LEAST_NAMED, _BAD_LOG, _ODD_LEVEL = 30, 0.05, 0.7
_SHADOW_FAULTS = 5


def next_step(rollout: Rollout, before: Before, seen: Seen, rules: Releases, now: float) -> Decision:
    """Stay, advance, promote, roll back, or return the candidate at the cap. Whatever is unclear never promotes."""
    harm = (*_broken(seen, rules), *_disliked(before, seen, rules), *_worse(seen, rules))
    if harm:
        return Decision("roll back", harm)
    if now - rollout.started >= rules.cap_days * DAY:
        text = (
            f"not decided within {rules.cap_days:g} days; {rollout.champion} goes on, the candidate is not called worse"
        )
        return Decision("return", (Reason("cap", False, text), *_promotion(before, seen, rules)))
    if now - rollout.stepped < rules.step_minutes * 60:
        return Decision("stay", (Reason("step-time", True, f"a step lasts {rules.step_minutes:g} minutes at least"),))
    if rollout.step == SHADOW:
        return _leave_shadow(seen, rules)
    if rollout.step == SCREEN:
        return _leave_screen(rollout, seen, rules, now)
    if rollout.step == len(rollout.shares) - 1:
        wanted = tuple(_promotion(before, seen, rules))
        return Decision("promote" if all(r.passed for r in wanted) else "stay", wanted)
    units = seen.steps[-1].units[1] if seen.steps else 0
    text = f"{units} units met the candidate at this share ({rules.step_units} asked for)"
    enough = units >= rules.step_units
    return Decision("advance" if enough else "stay", (Reason("step-units", enough, text, {"units": float(units)}),))


def limits(before: Before, seen: Seen, rules: Releases) -> Limits:
    """Fixed before a step begins, from the champion's answers of the time before the release and of the steps before."""
    answers = before.answers + sum(s.tally.answers[0] for s in seen.steps)
    faults = before.faults * before.answers + sum(s.tally.faults[0] for s in seen.steps)
    slow = before.slow * before.answers + sum(s.tally.slow[0] for s in seen.steps)
    return Limits(faults / max(answers, 1) + rules.margin_faults, slow / max(answers, 1) + rules.margin_slow)


def _leave_shadow(seen: Seen, rules: Releases) -> Decision:
    answers = seen.shadow.answers
    text = f"the candidate computed {answers} answers unseen ({rules.shadow_answers} asked for)"
    enough = answers >= rules.shadow_answers
    return Decision("advance" if enough else "stay", (Reason("shadow", enough, text, {"answers": float(answers)}),))


def _leave_screen(rollout: Rollout, seen: Seen, rules: Releases, now: float) -> Decision:
    screen = seen.screen
    chose, hours = screen.wins + screen.losses, (now - rollout.stepped) / 3_600
    enough = chose >= rules.screen_units or hours >= rules.screen_hours
    text = (
        f"of units that were shown both, {screen.wins} preferred the candidate and {screen.losses} the champion "
        f"({rules.screen_units} or {rules.screen_hours:g} hours asked for)"
    )
    numbers = {"wins": float(screen.wins), "losses": float(screen.losses)}
    return Decision("advance" if enough else "stay", (Reason("screen", enough, text, numbers),))


def _disliked(before: Before, seen: Seen, rules: Releases) -> Iterator[Reason]:
    """Shown in mixed lists to be followed less than the champion, or to fail."""
    screen, limit = seen.screen, log(_GUARDRAILS / rules.alpha)
    allowed = 0.5 + rules.margin_screen
    against = log_e_above(screen.losses, screen.wins + screen.losses, allowed)
    if against >= limit:
        text = (
            f"of units that were shown both, {screen.losses} preferred the champion and {screen.wins} the candidate: shown to be "
            f"more than {allowed:.0%}"
        )
        yield Reason("screen", False, text, {"log_e": float(against), "limit": float(limit)})
    failed = log_e_above(screen.faults, screen.answers, before.faults + rules.margin_faults)
    if failed >= limit:
        text = f"{screen.faults} of {screen.answers} answers failed in the screen"
        yield Reason("screen-faults", False, text, {"log_e": float(failed), "limit": float(limit)})


def _broken(seen: Seen, rules: Releases) -> Iterator[Reason]:
    """Shown to fail, to be slow, or to be given to the wrong share of units."""
    shadow, limit = seen.shadow, log(_GUARDRAILS / rules.alpha)
    if shadow.faults >= _SHADOW_FAULTS and shadow.faults > 0.01 * shadow.answers:
        text = f"{shadow.faults} of {shadow.answers} answers failed in the shadow"
        yield Reason("shadow-faults", False, text, {"faults": float(shadow.faults)})
    faults = sum(log_e_above(s.tally.faults[1], s.tally.answers[1], s.limits.faults) for s in _asked(seen))
    if faults >= limit:
        yield _counted("faults", "faults", "failed", seen, faults, limit)
    slow = sum(log_e_above(s.tally.slow[1], s.tally.answers[1], s.limits.slow) for s in _asked(seen))
    if slow >= limit:
        yield _counted("slow", "slow", "took too long", seen, slow, limit)
    ratio = sum(log_e_ratio(s.units[1], sum(s.units), s.share) for s in seen.steps if sum(s.units))
    if ratio >= limit:
        met, of = sum(s.units[1] for s in seen.steps), sum(sum(s.units) for s in seen.steps)
        text = (
            f"{met} of {of} units met the candidate, which the shares in force do not explain: the comparison is void"
        )
        yield Reason("sample-ratio", False, text, {"log_e": float(ratio), "limit": float(limit)})


def _asked(seen: Seen):
    return (s for s in seen.steps if s.tally.answers[1])


def _counted(
    name: str, code: str, words: str, seen: Seen, log_e: float, limit: float, *, passed: bool = False
) -> Reason:
    bad = sum(getattr(s.tally, code)[1] for s in seen.steps)
    of = sum(s.tally.answers[1] for s in seen.steps)
    allowed = getattr(seen.steps[-1].limits, code) if seen.steps else 0.0
    text = f"{bad} of {of} of the candidate's answers {words}; {allowed:.2%} are allowed"
    return Reason(name, passed, text, {"log_e": float(log_e), "limit": float(limit)})


def _worse(seen: Seen, rules: Releases) -> Iterator[Reason]:
    """Each outcome that is shown worse by its margin."""
    for name, found in seen.outcomes.items():
        if not evaluable(found, rules):
            continue
        margin = rules.margin(name)
        high = _bounds(found, margin, 2 * rules.alpha / _GUARDRAILS)[1]
        if high < 0:
            yield _reason(f"worse:{name}", False, name, found, rules)


def _promotion(before: Before, seen: Seen, rules: Releases) -> Iterator[Reason]:
    """All that must hold. Missing or odd evidence is a reason against."""
    yield from _log(before, seen)
    primary = seen.outcomes.get(rules.primary, Sums())
    if not evaluable(primary, rules):
        text = (
            f"{rules.primary}: {primary.units[1]} units with {primary.active[1]} active met the candidate, too few to say "
            f"({rules.least_units} and about {rules.least_active} asked for)"
        )
        yield Reason("primary", False, text, {"units": float(primary.units[1])})
    else:
        low = _bounds(primary, rules.margin(rules.primary), 2 * rules.alpha)[0]
        yield _reason("primary", low > 0, rules.primary, primary, rules)
    for name, found in seen.outcomes.items():
        if name != rules.primary and evaluable(found, rules):
            high = _bounds(found, 0.0, 2 * rules.alpha / _GUARDRAILS)[1]
            yield _reason(f"not-worse:{name}", high >= 0, name, found, rules)
    # Slow answers reach shoppers, so few of them must be shown; a failed one was answered by the champion.
    slow = sum(log_e_below(s.tally.slow[1], s.tally.answers[1], s.limits.slow) for s in _asked(seen))
    enough = log(1 / rules.alpha)
    yield _counted("few-slow", "slow", "took too long", seen, slow, enough, passed=slow >= enough)


def _log(before: Before, seen: Seen) -> Iterator[Reason]:
    """Whether the log can be believed: half of it missing, clocks apart and repetitions show in what events name."""
    log = seen.log
    if log.named >= _LEAST_NAMED:
        for code, count, words, so in (
            ("orphans", log.orphans, "name an answer that is not in the log", "part of it is missing"),
            ("backwards", log.backwards, "are older than the answer that they follow", "clocks disagree"),
            ("doubled", log.doubled, "repeat another under a new id", "somebody sends them twice"),
        ):
            fine = count <= _BAD_LOG * log.named
            text = f"{count} of {log.named} events {words}"
            yield Reason(f"log:{code}", fine, text if fine else f"{text}: {so}", {"count": float(count)})
    for name, found in seen.outcomes.items():
        usual, units = before.means.get(name, 0.0), found.units[0]
        if before.active.get(name, 0) < _LEAST_NAMED or not usual or units * usual < _LEAST_NAMED:
            continue
        level = found.mean(0) / usual
        fine = _ODD_LEVEL <= level <= 1 / _ODD_LEVEL
        text = f"{name} with the champion is {level:.0%} of what it was before the release"
        yield Reason(
            f"log:level:{name}", fine, text if fine else f"{text}: is part of the log missing?", {"level": level}
        )


def evaluable(found: Sums, rules: Releases) -> bool:
    """Enough units an arm, and enough of them would act at the better arm's rate: a dead candidate counts as seen."""
    fewest = min(found.units)
    rate = max(a / u if u else 0.0 for a, u in zip(found.active, found.units, strict=True))
    return fewest >= rules.least_units and fewest * rate >= rules.least_active


def _bounds(found: Sums, margin: float, alpha: float) -> tuple[float, float]:
    estimate = effect(found, margin)
    half = radius(estimate, alpha)
    return estimate.point - half, estimate.point + half


def _reason(code: str, passed: bool, name: str, found: Sums, rules: Releases) -> Reason:
    usual = effect(found, 1.0).point  # with a margin of one, what remains is the candidate's own mean
    difference = effect(found)
    usual -= difference.point
    scale = abs(usual) or 1.0
    low, high = _bounds(found, 0.0, 2 * rules.alpha)
    words = {CLICKS: "clicked answers a unit", CONVERSION: "units that bought", REVENUE: "revenue a unit"}[name]
    text = (
        f"{words}: {difference.point / scale:+.1%} with the candidate (at any look between {low / scale:+.1%} and "
        f"{high / scale:+.1%}; {-rules.margin(name):.0%} allowed), {found.units[1]} units met it"
    )
    numbers = {
        "point": difference.point / scale,
        "low": low / scale,
        "high": high / scale,
        "champion": usual,
        "mixture_ratio": mixture_ratio(difference, rules.margin(name) * scale),
    }
    return Reason(code, passed, text, numbers)
