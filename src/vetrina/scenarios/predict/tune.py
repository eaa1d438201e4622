"""Chooses on validation which model answers, or the mean of several, and from which probability on the answer is yes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Plan
from vetrina.features.encoding import Words
from vetrina.metrics import calibration, field_calibration, threshold
from vetrina.metrics.classification import log_loss
from vetrina.metrics.ensemble import choose
from vetrina.metrics.regression import squared_error
from vetrina.scenarios.predict.online import Predict

_ALONE = ("tree", "onnx")  # one tree is for people to read, a model brought along is meant as it is


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The mean of all models gets the weight, or what validation shows to lose less: a baseline that wins ships."""
    opened, table = Predict(folder), evidence.table
    if table is None:
        raise ValueError("predict is tuned on a table")
    label, scale = opened.encoding.truth(table.label), opened.encoding.number
    lost, name = (log_loss, "validation_log_loss") if scale is None else (squared_error, "validation_squared_error")
    found = choose(label, opened.said(table.columns, opened.models), _ALONE, lost)
    options: dict[str, Any]
    if scale is None:
        words = {c.name: table.columns[c.name] for c in opened.encoding.columns if isinstance(c, Words)}
        steps = calibration.chosen(found.said, label, plan.seed, shown=True)
        field = field_calibration.chosen(steps.of(found.said), label, words, plan.seed)
        said = field.of(steps.of(found.said), table.columns)
        options = {"threshold": threshold.chosen(label, said, plan.goal)}
        options |= {"calibration": {"x": steps.x, "y": steps.y}} if steps.x else {}
        options |= {"field": asdict(field)} if field.name else {}
    else:
        options = {"error": float(squared_error(label, found.said).mean() ** 0.5 * scale.sd)}
    notes = {
        name: {" + ".join(names): loss for names, loss in found.losses.items()},
        "goal": plan.goal,
        "options": options,
    }
    return {"predict": {m: float(m in found.names) for m in opened.models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"predict": {m: float(m == models[0]) for m in models}}
