"""Chooses on validation which model tells clicks, or the mean of several, and whether what they say is calibrated."""

from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, TrainingPlan
from vetrina.metrics import calibration
from vetrina.metrics.classification import calibration_error
from vetrina.metrics.ensemble import choose_ensemble
from vetrina.scenarios.ads.evaluate import evaluation_impressions
from vetrina.scenarios.ads.online import AdServer


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The mean of all models gets the weight, or what validation shows to lose less: a baseline that wins ships."""
    opened = AdServer(folder)
    judged = evaluation_impressions(opened, evaluation_data)
    if judged is None:
        return default_weights(opened.models), {}
    clicked = judged.clicked
    found = choose_ensemble(
        clicked, {name: opened.raw_click_probability(judged.features, name) for name in opened.models}
    )
    steps = calibration.choose_calibration(found.predictions, clicked, plan.seed)
    options = {"calibration": {"x": steps.x, "y": steps.y}} if steps.x else {}
    notes = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in found.losses.items()},
        "calibration_error": calibration_error(clicked, steps.transform(found.predictions)),
        "options": options,
    }
    return {"ads": {m: float(m in found.models) for m in opened.models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"ads": {m: float(m == models[0]) for m in models}}
