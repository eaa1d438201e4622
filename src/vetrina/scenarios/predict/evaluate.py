"""Judges predict by the log loss of each row, turned round so that more is better."""

from pathlib import Path

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Scores
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.predict.online import Predict
from vetrina.scenarios.predict.recipe import positive


def tune(
    folder: Path, evidence: Evidence, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict]:
    """The model with the smaller loss on validation gets all the weight: a baseline that wins ships."""
    values = {m: float(evaluate(folder, evidence, only=m).values.mean()) for m in ("mlp", "logistic")}
    best = max(values, key=lambda name: values[name])
    return {"predict": {m: float(m == best) for m in values}}, {"validation_negative_log_loss": values}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The network, until a validation says otherwise."""
    return {"predict": {m: float(m == "mlp") for m in models}}


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """Minus the cross-entropy of every row."""
    opened = Predict(folder)
    if evidence.table is None:
        raise ValueError("predict is judged on a table")
    label = positive(evidence.table, opened.encoding.positive)
    values = -log_loss(label, opened.probability(evidence.table.columns, only))
    return Scores("negative log loss", tuple(str(i) for i in range(len(label))), values, {"positive rows": label > 0.5})
