"""Chooses on validation which model tells clicks, or the mean of several, and whether what they say is calibrated."""

from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Plan
from vetrina.metrics import calibration
from vetrina.metrics.classification import calibration_error
from vetrina.metrics.ensemble import choose
from vetrina.scenarios.ads.evaluate import asked
from vetrina.scenarios.ads.online import Ads


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The mean of all models gets the weight, or what validation shows to lose less: a baseline that wins ships."""
    opened = Ads(folder)
    judged = asked(opened, evidence)
    if judged is None:
        return default_weights(opened.models), {}
    clicked = judged.clicked
    found = choose(clicked, {name: opened.said(judged.situations, name) for name in opened.models})
    steps = calibration.chosen(found.said, clicked, plan.seed)
    options = {"calibration": {"x": steps.x, "y": steps.y}} if steps.x else {}
    notes = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in found.losses.items()},
        "calibration_error": calibration_error(clicked, steps.of(found.said)),
        "options": options,
    }
    return {"ads": {m: float(m in found.names) for m in opened.models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"ads": {m: float(m == models[0]) for m in models}}
