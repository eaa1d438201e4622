"""The stage, pure: old version, churned catalogue, a confirmed loss, or drift that meets an estimated loss. Drift alone never."""

from collections.abc import Sequence

from vetrina.core.health_types import HealthReport, RetrainDecision

MAX_AGE_DAYS = 7.0
MIN_CATALOGUE_CHURN = 0.1
MIN_CLICK_LOSS = 0.02


def retrain(
    health: HealthReport, drifted_features: Sequence[str], catalogue_size: int, new_events: int
) -> RetrainDecision:
    """``drifted`` names the features that drifted on two of three days; ``products`` is the size of the catalogue trained on."""
    name = health.scenario
    lost = health.estimated_loss
    if health.version is None:
        return RetrainDecision(name, True, "nothing serves yet")
    if new_events and health.version_age_days >= MAX_AGE_DAYS:
        age = health.version_age_days
        return RetrainDecision(name, True, f"the version is {age:.0f} days old and there is new data")
    if catalogue_size and health.new_products / catalogue_size >= MIN_CATALOGUE_CHURN:
        return RetrainDecision(name, True, f"{health.new_products} new products are a tenth of the catalogue or more")
    if lost and lost.low >= MIN_CLICK_LOSS:
        return RetrainDecision(name, True, f"clicks fell by {lost.point:.0%} (at least {lost.low:.0%})")
    if drifted_features and lost and lost.point >= MIN_CLICK_LOSS:
        what = ", ".join(drifted_features)
        return RetrainDecision(name, True, f"drift of {what} meets an estimated loss of {lost.point:.0%}")
    calm = f"drift of {', '.join(drifted_features)} without a loss" if drifted_features else "fresh, and nothing moved"
    return RetrainDecision(name, False, calm)
