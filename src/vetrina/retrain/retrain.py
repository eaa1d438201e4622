"""The stage, pure: old version, churned catalogue, or drift together with an estimated loss. Drift alone never."""

from collections.abc import Sequence

from vetrina.core.types import HealthReport, RetrainDecision

MAX_AGE_DAYS, CHURN, DRIFT, LOSS = 7.0, 0.1, 0.2, 0.02
_PERSISTENT, _OF = 2, 3


def retrain(health: HealthReport, history: Sequence[HealthReport], products: int, new_events: int) -> RetrainDecision:
    """``history`` holds earlier reports, oldest first; ``products`` is the size of the catalogue trained on."""
    name = health.scenario
    if health.version is None:
        return RetrainDecision(name, True, "nothing serves yet")
    if new_events and health.version_age_days >= MAX_AGE_DAYS:
        return RetrainDecision(
            name, True, f"the version is {health.version_age_days:.0f} days old and there is new data"
        )
    if products and health.new_products / products >= CHURN:
        return RetrainDecision(name, True, f"{health.new_products} new products are a tenth of the catalogue or more")
    recent = [*history, health][-_OF:]
    drifted = sum(max(r.drift.values(), default=0.0) >= DRIFT for r in recent) >= _PERSISTENT
    if drifted and (health.estimated_loss or 0.0) >= LOSS:
        return RetrainDecision(name, True, "drift over two of three windows meets an estimated loss")
    return RetrainDecision(name, False, "drift without a loss" if drifted else "fresh, and nothing moved")
