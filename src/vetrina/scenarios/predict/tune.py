"""Chooses on validation which model answers, or the mean of several, and from which probability on the answer is yes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, TrainingPlan
from vetrina.features.table_encoding import CategoricalColumn
from vetrina.metrics import calibration, field_calibration, threshold
from vetrina.metrics.classification import log_loss
from vetrina.metrics.ensemble import choose_ensemble
from vetrina.metrics.regression import squared_error
from vetrina.scenarios.predict.online import Predictor

_SINGLE_ONLY = ("tree", "onnx")  # one tree is for people to read, a model brought along is meant as it is


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The mean of all models gets the weight, or what validation shows to lose less: a baseline that wins ships."""
    opened = Predictor(folder)
    table = evaluation_data.table
    if table is None:
        raise ValueError("predict is tuned on a table")
    label = opened.encoding.encode_labels(table.label)
    scale = opened.encoding.number
    lost, name = (log_loss, "validation_log_loss") if scale is None else (squared_error, "validation_squared_error")
    found = choose_ensemble(label, opened.predictions_by_model(table.columns, opened.models), _SINGLE_ONLY, lost)
    options: dict[str, Any]
    if scale is None:
        words = {c.name: table.columns[c.name] for c in opened.encoding.columns if isinstance(c, CategoricalColumn)}
        steps = calibration.choose_calibration(found.predictions, label, plan.seed, significant_only=True)
        field = field_calibration.choose_field_calibration(steps.transform(found.predictions), label, words, plan.seed)
        said = field.transform(steps.transform(found.predictions), table.columns)
        options = {"threshold": threshold.choose_threshold(label, said, plan.goal)}
        options |= {"calibration": {"x": steps.x, "y": steps.y}} if steps.x else {}
        options |= {"field": asdict(field)} if field.name else {}
    else:
        options = {"error": float(squared_error(label, found.predictions).mean() ** 0.5 * scale.sd)}
    notes = {
        name: {" + ".join(names): loss for names, loss in found.losses.items()},
        "goal": plan.goal,
        "options": options,
    }
    return {"predict": {m: float(m in found.models) for m in opened.models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"predict": {m: float(m == models[0]) for m in models}}
