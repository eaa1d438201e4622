"""Tuning of ads on validation data: ensemble of click models and calibration."""

from pathlib import Path

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.evaluation.classification import calibration_error
from vetrina.model_selection.ensemble import choose_ensemble
from vetrina.model_selection.isotonic_regression import choose_calibration
from vetrina.scenarios.ads.evaluate import evaluation_impressions
from vetrina.scenarios.ads.online import AdServer


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> TuningResult:
    """Weights of the click models, and a calibration curve.

    The mean of all models, or the model or models with a significantly smaller validation loss; a baseline may win.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its ad impressions and events are used.
        plan: its seed is used.
        progress: not used.

    Returns:
        Weights of the blend "ads", its calibration, the losses and the calibration error; the default weights without
        impressions.
    """
    ad_server = AdServer(folder)
    impressions = evaluation_impressions(ad_server, evaluation_data)
    if impressions is None:
        return TuningResult(default_weights(ad_server.models))
    clicked = impressions.clicked
    predictions = {name: ad_server.raw_click_probability(impressions.features, name) for name in ad_server.models}
    ensemble = choose_ensemble(clicked, predictions)
    curve = choose_calibration(ensemble.predictions, clicked, plan.seed)
    blend_options = {}
    if curve.x:
        blend_options["calibration"] = {"x": curve.x, "y": curve.y}
    report = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in ensemble.losses.items()},
        "calibration_error": calibration_error(clicked, curve.transform(ensemble.predictions)),
    }
    weights = {model: float(model in ensemble.models) for model in ad_server.models}
    return TuningResult({"ads": weights}, blend_options=blend_options, report=report)


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without validation data: the first model alone."""
    return {"ads": {model: float(model == models[0]) for model in models}}
