"""Retraining policy, pure: age, catalogue churn, a confirmed click loss, or drift together with an estimated loss.

Drift alone never starts a training. While a canary tests a candidate, only the candidate's age does, once the canary had its
time: a newer candidate replaces it undecided, and what the champion lacks is what this one may bring.
"""

from collections.abc import Sequence

from vetrina.core.health_types import CandidateUnderTest, HealthReport, RetrainDecision

MAX_AGE_DAYS = 7.0  # of a version, while there are new events
MIN_CATALOGUE_CHURN = 0.1  # new products over products of the catalogue
MIN_CLICK_LOSS = 0.02  # relative


def retrain(
    health: HealthReport,
    drifted_features: Sequence[str],
    catalogue_size: int,
    new_events: int,
    candidate: CandidateUnderTest | None = None,
) -> RetrainDecision:
    """Whether to train a scenario again, and why.

    Args:
        health: Report of the last full day.
        drifted_features: Features that drifted on two of the last three days.
        catalogue_size: Number of products that the version was trained on.
        new_events: Number of events since it was trained.
        candidate: The candidate that a canary tests; None without one.
    """
    if candidate is not None:
        return _decide_during_canary(health.scenario, new_events, candidate)
    why = _why(health, drifted_features, catalogue_size, new_events)
    if why is not None:
        return RetrainDecision(health.scenario, True, why)
    if drifted_features:
        return RetrainDecision(health.scenario, False, f"drift of {', '.join(drifted_features)} without a loss")
    return RetrainDecision(health.scenario, False, "up to date, no drift")


def _decide_during_canary(scenario: str, new_events: int, candidate: CandidateUnderTest) -> RetrainDecision:
    max_age_days = max(MAX_AGE_DAYS, candidate.cap_days)
    if new_events and candidate.age_days >= max_age_days:
        why = f"the candidate under test is {candidate.age_days:.0f} days old and there is new data"
        return RetrainDecision(scenario, True, why)
    return RetrainDecision(scenario, False, "a candidate is being tested")


def _why(health: HealthReport, drifted_features: Sequence[str], catalogue_size: int, new_events: int) -> str | None:
    """The first reason to train again that applies; None without one."""
    if health.version is None:
        return "nothing serves yet"
    if new_events and health.version_age_days >= MAX_AGE_DAYS:
        return f"the version is {health.version_age_days:.0f} days old and there is new data"
    if catalogue_size and health.new_products / catalogue_size >= MIN_CATALOGUE_CHURN:
        return f"{health.new_products} new products are a tenth of the catalogue or more"
    loss = health.estimated_loss
    if loss is None:
        return None
    if loss.low >= MIN_CLICK_LOSS:
        return f"clicks fell by {loss.point:.0%} (at least {loss.low:.0%})"
    if drifted_features and loss.point >= MIN_CLICK_LOSS:
        return f"drift of {', '.join(drifted_features)} meets an estimated loss of {loss.point:.0%}"
    return None
