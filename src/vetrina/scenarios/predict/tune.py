"""Tuning of predict on validation data: ensemble, calibration, decision threshold."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, Floats, TrainingData, TrainingPlan
from vetrina.features.table_encoding import CategoricalColumn
from vetrina.metrics import calibration, field_calibration, threshold
from vetrina.metrics.classification import log_loss
from vetrina.metrics.ensemble import choose_ensemble
from vetrina.metrics.regression import squared_error
from vetrina.scenarios.predict.online import Predictor

_SINGLE_ONLY = ("tree", "onnx")  # never in an ensemble: a tree is for people to read, a foreign model is used as it is


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of the models, and tuning notes.

    The mean of all models, or the model or models with a significantly smaller validation loss; a baseline may win.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its table is used.
        plan: its seed, and its goal for the decision threshold, are used.
        progress: not used.

    Returns:
        {"predict": {model: weight}}, and notes with the losses, the goal and the options for serving.

    Raises:
        ValueError: there is no table.
    """
    predictor = Predictor(folder)
    table = evaluation_data.table
    if table is None:
        raise ValueError("predict is tuned on a table")
    label = predictor.encoding.encode_labels(table.label)
    scaler = predictor.encoding.number
    if scaler is None:
        loss_function = log_loss
        loss_name = "validation_log_loss"
    else:
        loss_function = squared_error
        loss_name = "validation_squared_error"
    predictions = predictor.predictions_by_model(table.columns, predictor.models)
    ensemble = choose_ensemble(label, predictions, _SINGLE_ONLY, loss_function)
    if scaler is None:
        options = _classification_options(predictor, table, label, ensemble.predictions, plan)
    else:
        rmse = squared_error(label, ensemble.predictions).mean() ** 0.5
        options = {"error": float(rmse * scaler.sd)}
    notes = {
        loss_name: {" + ".join(names): loss for names, loss in ensemble.losses.items()},
        "goal": plan.goal,
        "options": options,
    }
    weights = {model: float(model in ensemble.models) for model in predictor.models}
    return {"predict": weights}, notes


def _classification_options(
    predictor: Predictor, table: LabelledTable, label: np.ndarray, predictions: Floats, plan: TrainingPlan
) -> dict[str, Any]:
    """Threshold and calibrations of a classifier, as ``scenario.json`` holds them.

    Args:
        predictor: its encoding names the categorical columns.
        table: validation rows.
        label: (rows,) 0 or 1.
        predictions: (rows,) probabilities of the ensemble before calibration.
        plan: its seed and goal are used.
    """
    fields = {}
    for column in predictor.encoding.columns:
        if isinstance(column, CategoricalColumn):
            fields[column.name] = table.columns[column.name]
    curve = calibration.choose_calibration(predictions, label, plan.seed, significant_only=True)
    calibrated = curve.transform(predictions)
    field = field_calibration.choose_field_calibration(calibrated, label, fields, plan.seed)
    probability = field.transform(calibrated, table.columns)
    options: dict[str, Any] = {"threshold": threshold.choose_threshold(label, probability, plan.goal)}
    if curve.x:
        options["calibration"] = {"x": curve.x, "y": curve.y}
    if field.name:
        options["field"] = asdict(field)
    return options


def quick_options(training_data: TrainingData, since: float) -> dict[str, Any]:
    """The options for serving of the quick recipe: none, so that probabilities are as the model gives them."""
    return {}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without validation data: the first model alone."""
    return {"predict": {model: float(model == models[0]) for model in models}}
