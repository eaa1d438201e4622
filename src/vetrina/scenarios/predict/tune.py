"""Tuning of predict on rows that the models were not trained on: ensemble weights, calibration, decision threshold."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.arrays import Floats
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable, OutOfFoldPredictions
from vetrina.core.progress import Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.features.table_encoding import CategoricalColumn
from vetrina.model_selection import field_calibration, threshold
from vetrina.model_selection.ensemble_weights import choose_weights
from vetrina.model_selection.isotonic_regression import choose_calibration
from vetrina.scenarios.predict.online import Predictor

_SINGLE_ONLY = ("tree", "onnx")  # never in an ensemble: a tree is for people to read, a foreign model is used as it is


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> TuningResult:
    """Weights of the models, the decision threshold and calibrations.

    The plain or weighted mean of the models, or a single one, whichever loses least; a baseline may win. All is chosen on the
    validation rows and, where the plan has folds, on the out-of-fold predictions of the training rows.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its table and out-of-fold predictions are used.
        plan: its seed, and its goal for the decision threshold, are used.
        progress: not used.

    Returns:
        Weights of the blend "predict", the options for serving, and the losses.

    Raises:
        ValueError: there is no table.
    """
    predictor = Predictor(folder)
    if evaluation_data.table is None:
        raise ValueError("predict is tuned on a table")
    table, predictions = _predicted_rows(predictor, evaluation_data.table, evaluation_data.out_of_fold)
    label = predictor.encoding.encode_labels(table.label)
    scaler = predictor.encoding.number
    if scaler is None:
        row_loss = log_loss
        loss_name = "out_of_fold_log_loss"
    else:
        row_loss = squared_error
        loss_name = "out_of_fold_squared_error"
    ensemble = choose_weights(label, predictions, _SINGLE_ONLY, row_loss, plan.seed)
    blend = TuningResult(
        weights={"predict": dict(ensemble.weights)},
        report={loss_name: ensemble.losses, "rows": len(table), "goal": plan.goal},
    )
    if scaler is None:
        return _with_classification_options(blend, predictor, table, label, ensemble.predictions, plan)
    rmse = squared_error(label, ensemble.predictions).mean() ** 0.5
    return replace(blend, options={"error": float(rmse * scaler.sd)})


def _predicted_rows(
    predictor: Predictor, validation: LabelledTable, out_of_fold: OutOfFoldPredictions | None
) -> tuple[LabelledTable, dict[str, Floats]]:
    """The rows to tune on, and what each model predicts for them without having been trained on them.

    Args:
        predictor: The models, which were trained without the validation rows.
        validation: Validation rows.
        out_of_fold: Training rows with their predictions; None where the plan has no folds.

    Returns:
        The rows (n,), and predictions (n,) by model: probabilities, or numbers in standard units of ``predictor``.
    """
    predictions = predictor.predictions_by_model(validation.columns, predictor.models)
    if out_of_fold is None:
        return validation, predictions
    scaler = predictor.encoding.number
    for name, further in out_of_fold.predictions.items():
        if scaler is not None:
            further = scaler.transform(further)
        predictions[name] = np.concatenate([predictions[name], further])
    return validation.append(out_of_fold.table), predictions


def _with_classification_options(
    blend: TuningResult,
    predictor: Predictor,
    table: LabelledTable,
    label: np.ndarray,
    predictions: Floats,
    plan: TrainingPlan,
) -> TuningResult:
    """The blend with threshold and calibrations of a classifier, as ``scenario.json`` holds them.

    Args:
        blend: weights of the models.
        predictor: its encoding names the categorical columns.
        table: rows that the models were not trained on.
        label: (rows,) 0 or 1.
        predictions: (rows,) probabilities of the ensemble before calibration.
        plan: its seed and goal are used.
    """
    fields = {}
    for column in predictor.encoding.columns:
        if isinstance(column, CategoricalColumn):
            fields[column.name] = table.columns[column.name]
    curve = choose_calibration(predictions, label, plan.seed, significant_only=True)
    calibrated = curve.transform(predictions)
    field = field_calibration.choose_field_calibration(calibrated, label, fields, plan.seed)
    probability = field.transform(calibrated, table.columns)
    options = {"threshold": threshold.choose_threshold(label, probability, plan.goal)}
    calibrations: dict[str, Any] = {}
    if curve.x:
        calibrations["calibration"] = {"x": curve.x, "y": curve.y}
    if field.name:
        calibrations["field"] = asdict(field)
    return replace(blend, options=options, blend_options=calibrations)


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without validation data: the first model alone."""
    return {"predict": {model: float(model == models[0]) for model in models}}
