"""Chooses on validation which model answers."""

from pathlib import Path

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence
from vetrina.scenarios.predict.evaluate import evaluate


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
