"""The stage in mode *live*, pure: what the evidence says of a release among shoppers, looked at any time.

Nothing here reads a log or a clock: the same rollout, evidence and moment give the same decision, so that every decision
on record can be taken again.
"""

from collections.abc import Iterator
from math import log

from vetrina.core.clock import DAY
from vetrina.core.rollout_types import (
    CLICKS,
    CONVERSION,
    INTERLEAVING,
    REVENUE,
    SHADOW,
    GuardrailLimits,
    OutcomeStatistics,
    PreReleaseStatistics,
    Rollout,
    RolloutDecision,
    RolloutEvidence,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.core.types import Reason
from vetrina.metrics.sequential import (
    confidence_radius,
    estimate_effect,
    log_e_above,
    log_e_below,
    log_e_sample_ratio,
    mixture_likelihood_ratio,
)

_N_GUARDRAILS = (
    7  # the screen, clicks, conversion, revenue, failed answers, slow answers, sample ratio: they share alpha
)
_MIN_NAMED_EVENTS = 30
_MAX_BAD_EVENT_SHARE = 0.05
_MIN_LEVEL_RATIO = 0.7
_MIN_SHADOW_FAULTS = 5


def decide(
    rollout: Rollout,
    pre_release: PreReleaseStatistics,
    evidence: RolloutEvidence,
    settings: ReleaseSettings,
    now: float,
) -> RolloutDecision:
    """Stay, advance, promote, roll back, or return the candidate at the cap. Whatever is unclear never promotes."""
    harm = (
        *_guardrail_harm(evidence, settings),
        *_interleaving_harm(pre_release, evidence, settings),
        *_outcome_harm(evidence, settings),
    )
    if harm:
        return RolloutDecision("roll back", harm)
    if now - rollout.started >= settings.cap_days * DAY:
        text = f"not decided within {settings.cap_days:g} days; {rollout.champion} goes on, the candidate is not called worse"
        return RolloutDecision(
            "return", (Reason("cap", False, text), *_promotion_reasons(pre_release, evidence, settings))
        )
    if now - rollout.stepped < settings.min_step_minutes * 60:
        return RolloutDecision(
            "stay", (Reason("step-time", True, f"a step lasts {settings.min_step_minutes:g} minutes at least"),)
        )
    if rollout.step == SHADOW:
        return _decide_shadow(evidence, settings)
    if rollout.step == INTERLEAVING:
        return _decide_interleaving(rollout, evidence, settings, now)
    if rollout.step == len(rollout.shares) - 1:
        wanted = tuple(_promotion_reasons(pre_release, evidence, settings))
        return RolloutDecision("promote" if all(r.passed for r in wanted) else "stay", wanted)
    units = evidence.steps[-1].units[1] if evidence.steps else 0
    text = f"{units} units met the candidate at this share ({settings.min_step_units} asked for)"
    enough = units >= settings.min_step_units
    return RolloutDecision(
        "advance" if enough else "stay", (Reason("step-units", enough, text, {"units": float(units)}),)
    )


def guardrail_limits(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> GuardrailLimits:
    """Fixed before a step begins, from the champion's answers of the time before the release and of the steps before."""
    answers = pre_release.answers + sum(s.tally.answers[0] for s in evidence.steps)
    faults = pre_release.faults * pre_release.answers + sum(s.tally.faults[0] for s in evidence.steps)
    slow = pre_release.slow * pre_release.answers + sum(s.tally.slow[0] for s in evidence.steps)
    return GuardrailLimits(
        faults / max(answers, 1) + settings.margin_errors, slow / max(answers, 1) + settings.margin_slow
    )


def _decide_shadow(evidence: RolloutEvidence, settings: ReleaseSettings) -> RolloutDecision:
    answers = evidence.shadow.answers
    text = f"the candidate computed {answers} answers unseen ({settings.min_shadow_answers} asked for)"
    enough = answers >= settings.min_shadow_answers
    return RolloutDecision(
        "advance" if enough else "stay", (Reason("shadow", enough, text, {"answers": float(answers)}),)
    )


def _decide_interleaving(
    rollout: Rollout, evidence: RolloutEvidence, settings: ReleaseSettings, now: float
) -> RolloutDecision:
    screen = evidence.screen
    chose = screen.wins + screen.losses
    hours = (now - rollout.stepped) / 3_600
    enough = chose >= settings.interleaving_min_units or hours >= settings.interleaving_max_hours
    text = (
        f"of units that were shown both, {screen.wins} preferred the candidate and {screen.losses} the champion "
        f"({settings.interleaving_min_units} or {settings.interleaving_max_hours:g} hours asked for)"
    )
    numbers = {"wins": float(screen.wins), "losses": float(screen.losses)}
    return RolloutDecision("advance" if enough else "stay", (Reason("screen", enough, text, numbers),))


def _interleaving_harm(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> Iterator[Reason]:
    """Shown in mixed lists to be followed less than the champion, or to fail."""
    screen = evidence.screen
    limit = log(_N_GUARDRAILS / settings.alpha)
    allowed = 0.5 + settings.margin_interleaving
    against = log_e_above(screen.losses, screen.wins + screen.losses, allowed)
    if against >= limit:
        text = (
            f"of units that were shown both, {screen.losses} preferred the champion and {screen.wins} the candidate: shown to be "
            f"more than {allowed:.0%}"
        )
        yield Reason("screen", False, text, {"log_e": float(against), "limit": float(limit)})
    failed = log_e_above(screen.faults, screen.answers, pre_release.faults + settings.margin_errors)
    if failed >= limit:
        text = f"{screen.faults} of {screen.answers} answers failed in the screen"
        yield Reason("screen-faults", False, text, {"log_e": float(failed), "limit": float(limit)})


def _guardrail_harm(evidence: RolloutEvidence, settings: ReleaseSettings) -> Iterator[Reason]:
    """Shown to fail, to be slow, or to be given to the wrong share of units."""
    shadow = evidence.shadow
    limit = log(_N_GUARDRAILS / settings.alpha)
    if shadow.faults >= _MIN_SHADOW_FAULTS and shadow.faults > 0.01 * shadow.answers:
        text = f"{shadow.faults} of {shadow.answers} answers failed in the shadow"
        yield Reason("shadow-faults", False, text, {"faults": float(shadow.faults)})
    faults = sum(
        log_e_above(s.tally.faults[1], s.tally.answers[1], s.limits.faults) for s in _steps_with_answers(evidence)
    )
    if faults >= limit:
        yield _answer_share_reason("faults", "faults", "failed", evidence, faults, limit)
    slow = sum(log_e_above(s.tally.slow[1], s.tally.answers[1], s.limits.slow) for s in _steps_with_answers(evidence))
    if slow >= limit:
        yield _answer_share_reason("slow", "slow", "took too long", evidence, slow, limit)
    ratio = sum(log_e_sample_ratio(s.units[1], sum(s.units), s.share) for s in evidence.steps if sum(s.units))
    if ratio >= limit:
        met = sum(s.units[1] for s in evidence.steps)
        of = sum(sum(s.units) for s in evidence.steps)
        text = (
            f"{met} of {of} units met the candidate, which the shares in force do not explain: the comparison is void"
        )
        yield Reason("sample-ratio", False, text, {"log_e": float(ratio), "limit": float(limit)})


def _steps_with_answers(evidence: RolloutEvidence):
    return (s for s in evidence.steps if s.tally.answers[1])


def _answer_share_reason(
    name: str,
    code: str,
    description: str,
    evidence: RolloutEvidence,
    log_e: float,
    limit: float,
    *,
    passed: bool = False,
) -> Reason:
    bad = sum(getattr(s.tally, code)[1] for s in evidence.steps)
    of = sum(s.tally.answers[1] for s in evidence.steps)
    allowed = getattr(evidence.steps[-1].limits, code) if evidence.steps else 0.0
    text = f"{bad} of {of} of the candidate's answers {description}; {allowed:.2%} are allowed"
    return Reason(name, passed, text, {"log_e": float(log_e), "limit": float(limit)})


def _outcome_harm(evidence: RolloutEvidence, settings: ReleaseSettings) -> Iterator[Reason]:
    """Each outcome that is shown worse by its margin."""
    for name, found in evidence.outcomes.items():
        if not is_evaluable(found, settings):
            continue
        margin = settings.margin_of(name)
        high = _confidence_bounds(found, margin, 2 * settings.alpha / _N_GUARDRAILS)[1]
        if high < 0:
            yield _outcome_reason(f"worse:{name}", False, name, found, settings)


def _promotion_reasons(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> Iterator[Reason]:
    """All that must hold. Missing or odd evidence is a reason against."""
    yield from _log_health_reasons(pre_release, evidence)
    primary = evidence.outcomes.get(settings.primary_metric, OutcomeStatistics())
    if not is_evaluable(primary, settings):
        text = (
            f"{settings.primary_metric}: {primary.units[1]} units with {primary.active[1]} active "
            "met the candidate, too few to say "
            f"({settings.min_units_per_arm} and about {settings.min_active_units_per_arm} asked for)"
        )
        yield Reason("primary", False, text, {"units": float(primary.units[1])})
    else:
        low = _confidence_bounds(primary, settings.margin_of(settings.primary_metric), 2 * settings.alpha)[0]
        yield _outcome_reason("primary", low > 0, settings.primary_metric, primary, settings)
    for name, found in evidence.outcomes.items():
        if name != settings.primary_metric and is_evaluable(found, settings):
            high = _confidence_bounds(found, 0.0, 2 * settings.alpha / _N_GUARDRAILS)[1]
            yield _outcome_reason(f"not-worse:{name}", high >= 0, name, found, settings)
    # Slow answers reach shoppers, so few of them must be shown; a failed one was answered by the champion.
    slow = sum(log_e_below(s.tally.slow[1], s.tally.answers[1], s.limits.slow) for s in _steps_with_answers(evidence))
    enough = log(1 / settings.alpha)
    yield _answer_share_reason("few-slow", "slow", "took too long", evidence, slow, enough, passed=slow >= enough)


def _log_health_reasons(pre_release: PreReleaseStatistics, evidence: RolloutEvidence) -> Iterator[Reason]:
    """Whether the log can be believed: half of it missing, clocks apart and repetitions show in what events name."""
    log = evidence.log
    if log.named >= _MIN_NAMED_EVENTS:
        for code, count, words, so in (
            ("orphans", log.orphans, "name an answer that is not in the log", "part of it is missing"),
            ("backwards", log.backwards, "are older than the answer that they follow", "clocks disagree"),
            ("doubled", log.doubled, "repeat another under a new id", "somebody sends them twice"),
        ):
            fine = count <= _MAX_BAD_EVENT_SHARE * log.named
            text = f"{count} of {log.named} events {words}"
            yield Reason(f"log:{code}", fine, text if fine else f"{text}: {so}", {"count": float(count)})
    for name, found in evidence.outcomes.items():
        usual = pre_release.means.get(name, 0.0)
        units = found.units[0]
        if pre_release.active.get(name, 0) < _MIN_NAMED_EVENTS or not usual or units * usual < _MIN_NAMED_EVENTS:
            continue
        level = found.mean(0) / usual
        fine = _MIN_LEVEL_RATIO <= level <= 1 / _MIN_LEVEL_RATIO
        text = f"{name} with the champion is {level:.0%} of what it was before the release"
        yield Reason(
            f"log:level:{name}", fine, text if fine else f"{text}: is part of the log missing?", {"level": level}
        )


def is_evaluable(statistics: OutcomeStatistics, settings: ReleaseSettings) -> bool:
    """Enough units an arm, and enough of them would act at the better arm's rate: a dead candidate counts as seen."""
    fewest = min(statistics.units)
    rate = max(a / u if u else 0.0 for a, u in zip(statistics.active, statistics.units, strict=True))
    return fewest >= settings.min_units_per_arm and fewest * rate >= settings.min_active_units_per_arm


def _confidence_bounds(statistics: OutcomeStatistics, margin: float, alpha: float) -> tuple[float, float]:
    estimate = estimate_effect(statistics, margin)
    half = confidence_radius(estimate, alpha)
    return estimate.point - half, estimate.point + half


def _outcome_reason(
    code: str, passed: bool, name: str, statistics: OutcomeStatistics, settings: ReleaseSettings
) -> Reason:
    usual = estimate_effect(statistics, 1.0).point  # with a margin of one, what remains is the candidate's own mean
    difference = estimate_effect(statistics)
    usual -= difference.point
    scale = abs(usual) or 1.0
    low, high = _confidence_bounds(statistics, 0.0, 2 * settings.alpha)
    words = {CLICKS: "clicked answers a unit", CONVERSION: "units that bought", REVENUE: "revenue a unit"}[name]
    text = (
        f"{words}: {difference.point / scale:+.1%} with the candidate (at any look between {low / scale:+.1%} and "
        f"{high / scale:+.1%}; {-settings.margin_of(name):.0%} allowed), {statistics.units[1]} units met it"
    )
    numbers = {
        "point": difference.point / scale,
        "low": low / scale,
        "high": high / scale,
        "champion": usual,
        "mixture_ratio": mixture_likelihood_ratio(difference, settings.margin_of(name) * scale),
    }
    return Reason(code, passed, text, numbers)
