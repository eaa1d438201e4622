"""Tuning of ads on validation data: ensemble of click models and calibration."""

from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, TrainingPlan
from vetrina.evaluation.classification import calibration_error
from vetrina.model_selection.ensemble import choose_ensemble
from vetrina.model_selection.isotonic_regression import choose_calibration
from vetrina.scenarios.ads.evaluate import evaluation_impressions
from vetrina.scenarios.ads.online import AdServer


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of the click models, and tuning notes.

    The mean of all models, or the model or models with a significantly smaller validation loss; a baseline may win.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its ad impressions and events are used.
        plan: its seed is used.
        progress: not used.

    Returns:
        {"ads": {model: weight}}, and notes with the losses, the calibration error and the options for serving.
    """
    ad_server = AdServer(folder)
    impressions = evaluation_impressions(ad_server, evaluation_data)
    if impressions is None:
        return default_weights(ad_server.models), {}
    clicked = impressions.clicked
    predictions = {name: ad_server.raw_click_probability(impressions.features, name) for name in ad_server.models}
    ensemble = choose_ensemble(clicked, predictions)
    curve = choose_calibration(ensemble.predictions, clicked, plan.seed)
    options = {}
    if curve.x:
        options["calibration"] = {"x": curve.x, "y": curve.y}
    notes = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in ensemble.losses.items()},
        "calibration_error": calibration_error(clicked, curve.transform(ensemble.predictions)),
        "options": options,
    }
    weights = {model: float(model in ensemble.models) for model in ad_server.models}
    return {"ads": weights}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without validation data: the first model alone."""
    return {"ads": {model: float(model == models[0]) for model in models}}
