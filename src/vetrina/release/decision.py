"""Sequential decision on a canary or a watch: stay, advance, promote, roll back or return. Pure.

Nothing here reads a log or a clock: the same rollout, evidence and moment give the same decision, so that every recorded decision
can be repeated. Evidence may be checked at any time: the tests are sequential.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log

from vetrina.core.clock import DAY
from vetrina.core.evaluation_data import Interval
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
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.core.verdicts import Reason
from vetrina.evaluation.sequential import (
    confidence_radius,
    estimate_effect,
    log_e_above,
    log_e_below,
    log_e_sample_ratio,
    mixture_likelihood_ratio,
)

# Guardrails share alpha. Canary: interleaving, clicks, conversion, revenue, failed answers, slow answers, sample ratio.
_N_CANARY_GUARDRAILS = 7
# Watch: clicks, conversion, revenue, failed answers, slow answers. A sample-ratio mismatch is no harm.
_N_WATCH_GUARDRAILS = 5
_MIN_NAMED_EVENTS = 30  # before the health of the log is judged
_MAX_BAD_EVENT_SHARE = 0.05
_MIN_LEVEL_RATIO = 0.7  # of the champion's outcome during and before the release; at most its inverse
_MIN_SHADOW_FAULTS = 5
_MAX_SHADOW_FAULT_SHARE = 0.01
_OUTCOME_TEXTS = {CLICKS: "clicked answers per unit", CONVERSION: "units with a purchase", REVENUE: "revenue per unit"}


def decide(
    rollout: Rollout,
    pre_release: PreReleaseStatistics,
    evidence: RolloutEvidence,
    settings: ReleaseSettings,
    now: float,
) -> RolloutDecision:
    """Stay, advance, promote, roll back, or return the candidate at the time limit.

    Unclear evidence never promotes the candidate of a canary, and never rolls a watched version back.

    Args:
        rollout: The release and its current step.
        pre_release: Outcomes of the champion before the release.
        evidence: Evidence so far.
        settings: Limits, margins and durations.
        now: Moment of the decision, seconds since 1970.
    """
    if rollout.is_watch:
        return _decide_watch(rollout, evidence, settings, now)
    harm = (
        *_shadow_harm(evidence),
        *_answer_harm(evidence, settings, _N_CANARY_GUARDRAILS),
        *_sample_ratio_harm(evidence, settings, _N_CANARY_GUARDRAILS),
        *_interleaving_harm(pre_release, evidence, settings),
        *_outcome_harm(evidence, settings, _N_CANARY_GUARDRAILS),
    )
    if harm:
        return RolloutDecision("roll back", harm)
    if now - rollout.started >= settings.cap_days * DAY:
        return _return_at_cap(rollout, pre_release, evidence, settings)
    if now - rollout.stepped < settings.min_step_minutes * 60:
        reason = Reason("step-time", True, f"a step lasts {settings.min_step_minutes:g} minutes at least")
        return RolloutDecision("stay", (reason,))
    if rollout.step == SHADOW:
        return _decide_shadow(evidence, settings)
    if rollout.step == INTERLEAVING:
        return _decide_interleaving(rollout, evidence, settings, now)
    if rollout.step == len(rollout.shares) - 1:
        return _decide_promotion(pre_release, evidence, settings)
    return _decide_canary_step(evidence, settings)


def guardrail_limits(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> GuardrailLimits:
    """Limits of failed and slow answers, fixed before a step begins.

    The champion's shares before the release and in the steps before, plus a margin.
    """
    n_answers = pre_release.answers + sum(step.tally.answers[0] for step in evidence.steps)
    n_faults = pre_release.faults * pre_release.answers + sum(step.tally.faults[0] for step in evidence.steps)
    n_slow = pre_release.slow * pre_release.answers + sum(step.tally.slow[0] for step in evidence.steps)
    return GuardrailLimits(
        n_faults / max(n_answers, 1) + settings.margin_errors,
        n_slow / max(n_answers, 1) + settings.margin_slow,
    )


def outcome_effects(evidence: RolloutEvidence, settings: ReleaseSettings) -> dict[str, Interval]:
    """Relative difference between candidate and champion by outcome, with its anytime-valid interval.

    Outcomes with too few units or too few of them active are left out.
    """
    effects: dict[str, Interval] = {}
    for name, statistics in evidence.outcomes.items():
        if is_evaluable(statistics, settings):
            effects[name], _ = _relative_effect(statistics, settings)
    return effects


def is_evaluable(statistics: OutcomeStatistics, settings: ReleaseSettings) -> bool:
    """Whether there are enough units an arm, and enough of them would act at the better arm's rate.

    At the better arm's rate, because a candidate on which nobody acts must count as evaluable.
    """
    smaller_arm = min(statistics.units)
    best_rate = 0.0
    for active, units in zip(statistics.active, statistics.units, strict=True):
        if units:
            best_rate = max(best_rate, active / units)
    if smaller_arm < settings.min_units_per_arm:
        return False
    return smaller_arm * best_rate >= settings.min_active_units_per_arm


# Decisions


def _decide_watch(
    rollout: Rollout, evidence: RolloutEvidence, settings: ReleaseSettings, now: float
) -> RolloutDecision:
    """Roll back if harm is shown; keep the version at the time limit."""
    concurrent_evidence = replace(evidence, steps=_with_concurrent_limits(evidence.steps, settings))
    harm = tuple(_answer_harm(concurrent_evidence, settings, _N_WATCH_GUARDRAILS))
    mismatch = tuple(_sample_ratio_harm(evidence, settings, _N_WATCH_GUARDRAILS))
    if not mismatch:  # else the arms cannot be compared
        harm += tuple(_outcome_harm(evidence, settings, _N_WATCH_GUARDRAILS))
    if harm:
        return RolloutDecision("roll back", harm)
    days = (now - rollout.started) / DAY
    if days >= settings.cap_days:
        text = f"not shown to be worse than {rollout.champion} within {settings.cap_days:g} days: {rollout.candidate} stays"
        return RolloutDecision("promote", (Reason("cap", True, text), *mismatch))
    text = f"not shown to be worse than {rollout.champion} in {days:.1f} of {settings.cap_days:g} days"
    return RolloutDecision("stay", (Reason("watch", True, text), *mismatch))


def _with_concurrent_limits(steps: Sequence[StepEvidence], settings: ReleaseSettings) -> tuple[StepEvidence, ...]:
    """The steps with limits of failed and slow answers that also allow what the version before shows at the same time.

    A watch is long: a busy day that slows both versions down is no harm of the newer one.
    """
    concurrent_steps: list[StepEvidence] = []
    for step in steps:
        n_answers = max(step.tally.answers[0], 1)
        faults = step.tally.faults[0] / n_answers + settings.margin_errors
        slow = step.tally.slow[0] / n_answers + settings.margin_slow
        limits = GuardrailLimits(max(step.limits.faults, faults), max(step.limits.slow, slow))
        concurrent_steps.append(replace(step, limits=limits))
    return tuple(concurrent_steps)


def _return_at_cap(
    rollout: Rollout, pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> RolloutDecision:
    text = f"not decided within {settings.cap_days:g} days: {rollout.champion} serves on, the candidate is not called worse"
    reasons = _promotion_reasons(pre_release, evidence, settings)
    return RolloutDecision("return", (Reason("cap", False, text), *reasons))


def _decide_shadow(evidence: RolloutEvidence, settings: ReleaseSettings) -> RolloutDecision:
    answers = evidence.shadow.answers
    text = f"the candidate computed {answers} answers that were not shown ({settings.min_shadow_answers} required)"
    is_enough = answers >= settings.min_shadow_answers
    return _advance_if(Reason("shadow", is_enough, text, {"answers": float(answers)}))


def _decide_interleaving(
    rollout: Rollout, evidence: RolloutEvidence, settings: ReleaseSettings, now: float
) -> RolloutDecision:
    screen = evidence.screen
    n_preferences = screen.wins + screen.losses
    hours = (now - rollout.stepped) / 3_600
    is_enough = n_preferences >= settings.interleaving_min_units or hours >= settings.interleaving_max_hours
    text = (
        f"interleaving: {screen.wins} units preferred the candidate and {screen.losses} the champion "
        f"({settings.interleaving_min_units} or {settings.interleaving_max_hours:g} hours required)"
    )
    numbers = {"wins": float(screen.wins), "losses": float(screen.losses)}
    return _advance_if(Reason("screen", is_enough, text, numbers))


def _decide_canary_step(evidence: RolloutEvidence, settings: ReleaseSettings) -> RolloutDecision:
    units = 0
    if evidence.steps:
        units = evidence.steps[-1].units[1]
    text = f"{units} units were assigned to the candidate at this share ({settings.min_step_units} required)"
    is_enough = units >= settings.min_step_units
    return _advance_if(Reason("step-units", is_enough, text, {"units": float(units)}))


def _decide_promotion(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> RolloutDecision:
    reasons = tuple(_promotion_reasons(pre_release, evidence, settings))
    if all(reason.passed for reason in reasons):
        return RolloutDecision("promote", reasons)
    return RolloutDecision("stay", reasons)


def _advance_if(reason: Reason) -> RolloutDecision:
    """Advance if the step's requirement is met, else stay."""
    if reason.passed:
        return RolloutDecision("advance", (reason,))
    return RolloutDecision("stay", (reason,))


# Reasons to roll back


def _answer_harm(evidence: RolloutEvidence, settings: ReleaseSettings, n_guardrails: int) -> Iterator[Reason]:
    """The candidate is shown to fail or to be slow."""
    limit = _guardrail_limit(settings, n_guardrails)
    steps = _steps_with_answers(evidence)
    faults = sum(log_e_above(step.tally.faults[1], step.tally.answers[1], step.limits.faults) for step in steps)
    if faults >= limit:
        yield _answer_share_reason("faults", "faults", "failed", evidence, faults, limit)
    slow = sum(log_e_above(step.tally.slow[1], step.tally.answers[1], step.limits.slow) for step in steps)
    if slow >= limit:
        yield _answer_share_reason("slow", "slow", "took too long", evidence, slow, limit)


def _sample_ratio_harm(evidence: RolloutEvidence, settings: ReleaseSettings, n_guardrails: int) -> Iterator[Reason]:
    """The candidate is shown to be assigned to the wrong share of units."""
    limit = _guardrail_limit(settings, n_guardrails)
    steps_with_units = [step for step in evidence.steps if sum(step.units)]
    ratio = sum(log_e_sample_ratio(step.units[1], sum(step.units), step.share) for step in steps_with_units)
    if ratio >= limit:
        candidate_units = sum(step.units[1] for step in evidence.steps)
        all_units = sum(sum(step.units) for step in evidence.steps)
        text = (
            f"sample ratio mismatch: {candidate_units} of {all_units} units were assigned to the candidate, which the shares "
            "in force do not explain; the comparison is void"
        )
        yield Reason("sample-ratio", False, text, {"log_e": float(ratio), "limit": float(limit)})


def _shadow_harm(evidence: RolloutEvidence) -> Iterator[Reason]:
    shadow = evidence.shadow
    if shadow.faults >= _MIN_SHADOW_FAULTS and shadow.faults > _MAX_SHADOW_FAULT_SHARE * shadow.answers:
        text = f"{shadow.faults} of {shadow.answers} answers failed in the shadow"
        yield Reason("shadow-faults", False, text, {"faults": float(shadow.faults)})


def _interleaving_harm(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> Iterator[Reason]:
    """The candidate's products are shown to be clicked less than the champion's in interleaved answers, or to fail."""
    screen = evidence.screen
    limit = _guardrail_limit(settings, _N_CANARY_GUARDRAILS)
    allowed_share = 0.5 + settings.margin_interleaving
    n_preferences = screen.wins + screen.losses
    losses = log_e_above(screen.losses, n_preferences, allowed_share)
    if losses >= limit:
        text = (
            f"interleaving: of {n_preferences} units with a preference, {screen.losses} preferred the champion and "
            f"{screen.wins} the candidate: the champion wins more than {allowed_share:.0%}"
        )
        yield Reason("screen", False, text, {"log_e": float(losses), "limit": float(limit)})
    faults = log_e_above(screen.faults, screen.answers, pre_release.faults + settings.margin_errors)
    if faults >= limit:
        text = f"{screen.faults} of {screen.answers} interleaved answers failed"
        yield Reason("screen-faults", False, text, {"log_e": float(faults), "limit": float(limit)})


def _outcome_harm(evidence: RolloutEvidence, settings: ReleaseSettings, n_guardrails: int) -> Iterator[Reason]:
    """Each outcome that is shown to be worse by more than its margin."""
    for name, statistics in evidence.outcomes.items():
        if not is_evaluable(statistics, settings):
            continue
        margin = settings.margin_of(name)
        _, high = _confidence_bounds(statistics, margin, _guardrail_alpha(settings, n_guardrails))
        if high < 0:
            yield _outcome_reason(f"worse:{name}", False, name, statistics, settings)


# Reasons for and against a promotion


def _promotion_reasons(
    pre_release: PreReleaseStatistics, evidence: RolloutEvidence, settings: ReleaseSettings
) -> Iterator[Reason]:
    """Everything that a promotion requires. Missing or implausible evidence is a reason against it."""
    yield from _log_health_reasons(evidence)
    yield from _outcome_level_reasons(pre_release, evidence)
    yield _primary_outcome_reason(evidence, settings)
    for name, statistics in evidence.outcomes.items():
        if name != settings.primary_metric and is_evaluable(statistics, settings):
            _, high = _confidence_bounds(statistics, 0.0, _guardrail_alpha(settings, _N_CANARY_GUARDRAILS))
            yield _outcome_reason(f"not-worse:{name}", high >= 0, name, statistics, settings)
    # Users wait for slow answers, so there must be few of them for certain; a failed one was answered by the champion.
    steps = _steps_with_answers(evidence)
    slow = sum(log_e_below(step.tally.slow[1], step.tally.answers[1], step.limits.slow) for step in steps)
    limit = log(1 / settings.alpha)
    yield _answer_share_reason("few-slow", "slow", "took too long", evidence, slow, limit, passed=slow >= limit)


def _primary_outcome_reason(evidence: RolloutEvidence, settings: ReleaseSettings) -> Reason:
    """Non-inferiority of the primary outcome by its margin."""
    name = settings.primary_metric
    statistics = evidence.outcomes.get(name, OutcomeStatistics())
    if not is_evaluable(statistics, settings):
        text = (
            f"{name}: the candidate has {statistics.units[1]} units, {statistics.active[1]} of them active, too few to decide "
            f"({settings.min_units_per_arm} and about {settings.min_active_units_per_arm} required)"
        )
        return Reason("primary", False, text, {"units": float(statistics.units[1])})
    low, _ = _confidence_bounds(statistics, settings.margin_of(name), 2 * settings.alpha)
    return _outcome_reason("primary", low > 0, name, statistics, settings)


def _log_health_reasons(evidence: RolloutEvidence) -> Iterator[Reason]:
    """Whether the log is complete, its clocks agree, and its events are not repeated."""
    log_health = evidence.log
    if log_health.named < _MIN_NAMED_EVENTS:
        return
    for code, count, finding, cause in (
        ("orphans", log_health.orphans, "name an answer that is not in the log", "part of it is missing"),
        ("backwards", log_health.backwards, "are older than the answer that they follow", "clocks disagree"),
        ("doubled", log_health.doubled, "repeat another under a new id", "a client sends them twice"),
    ):
        is_healthy = count <= _MAX_BAD_EVENT_SHARE * log_health.named
        text = f"{count} of {log_health.named} events {finding}"
        if not is_healthy:
            text = f"{text}: {cause}"
        yield Reason(f"log:{code}", is_healthy, text, {"count": float(count)})


def _outcome_level_reasons(pre_release: PreReleaseStatistics, evidence: RolloutEvidence) -> Iterator[Reason]:
    """Whether the champion's outcomes are near those before the release: if not, part of the log may be missing."""
    for name, statistics in evidence.outcomes.items():
        mean_before = pre_release.means.get(name, 0.0)
        champion_units = statistics.units[0]
        if pre_release.active.get(name, 0) < _MIN_NAMED_EVENTS or not mean_before:
            continue
        if champion_units * mean_before < _MIN_NAMED_EVENTS:
            continue
        level = statistics.mean(0) / mean_before
        is_healthy = _MIN_LEVEL_RATIO <= level <= 1 / _MIN_LEVEL_RATIO
        text = f"{name} with the champion is {level:.0%} of what it was before the release"
        if not is_healthy:
            text = f"{text}: is part of the log missing?"
        yield Reason(f"log:level:{name}", is_healthy, text, {"level": level})


# Statistics and texts


def _guardrail_limit(settings: ReleaseSettings, n_guardrails: int) -> float:
    """Logarithm of the e-value at which a guardrail rejects, alpha shared by all of them."""
    return log(n_guardrails / settings.alpha)


def _guardrail_alpha(settings: ReleaseSettings, n_guardrails: int) -> float:
    """Two-sided alpha of a guardrail's confidence interval."""
    return 2 * settings.alpha / n_guardrails


def _steps_with_answers(evidence: RolloutEvidence) -> list[StepEvidence]:
    """Steps in which the candidate gave answers."""
    return [step for step in evidence.steps if step.tally.answers[1]]


def _confidence_bounds(statistics: OutcomeStatistics, margin: float, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of the effect plus margin, valid at any time."""
    estimate = estimate_effect(statistics, margin)
    radius = confidence_radius(estimate, alpha)
    return estimate.point - radius, estimate.point + radius


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
    """A reason about the candidate's share of failed or slow answers.

    Args:
        name: Code of the reason.
        code: ``faults`` or ``slow``: field of the tally and of the limits.
        description: What such answers did.
        evidence: Evidence so far.
        log_e: Logarithm of the e-value.
        limit: Its limit.
        passed: Whether the reason speaks for the candidate.
    """
    n_bad = sum(getattr(step.tally, code)[1] for step in evidence.steps)
    n_answers = sum(step.tally.answers[1] for step in evidence.steps)
    allowed = 0.0
    if evidence.steps:
        allowed = getattr(evidence.steps[-1].limits, code)
    text = f"{n_bad} of {n_answers} of the candidate's answers {description}; {allowed:.2%} are allowed"
    return Reason(name, passed, text, {"log_e": float(log_e), "limit": float(limit)})


def _outcome_reason(
    code: str, passed: bool, name: str, statistics: OutcomeStatistics, settings: ReleaseSettings
) -> Reason:
    """A reason about an outcome, with the relative effect and its interval.

    Args:
        code: Code of the reason.
        passed: Whether it speaks for the candidate.
        name: Name of the outcome.
        statistics: Statistics of the outcome.
        settings: Margin and alpha.
    """
    effect, champion_mean = _relative_effect(statistics, settings)
    margin = settings.margin_of(name)
    text = (
        f"{_OUTCOME_TEXTS[name]}: {effect.point:+.1%} with the candidate "
        f"(anytime-valid interval {effect.low:+.1%} to {effect.high:+.1%}; {-margin:.0%} allowed), "
        f"{statistics.units[1]} units with the candidate"
    )
    numbers = {
        "point": effect.point,
        "low": effect.low,
        "high": effect.high,
        "champion": champion_mean,
        "mixture_ratio": mixture_likelihood_ratio(estimate_effect(statistics), margin * _scale(champion_mean)),
    }
    return Reason(code, passed, text, numbers)


def _relative_effect(statistics: OutcomeStatistics, settings: ReleaseSettings) -> tuple[Interval, float]:
    """The effect in parts of the champion's mean, with its anytime-valid interval, and that mean."""
    difference = estimate_effect(statistics)
    candidate_mean = estimate_effect(statistics, 1.0).point  # with a margin of one: effect plus the champion's mean
    champion_mean = candidate_mean - difference.point
    scale = _scale(champion_mean)
    low, high = _confidence_bounds(statistics, 0.0, 2 * settings.alpha)
    return Interval(difference.point / scale, low / scale, high / scale), champion_mean


def _scale(champion_mean: float) -> float:
    """What effects are divided by; of a champion on which nobody acts they stay as they are."""
    return abs(champion_mean) or 1.0
