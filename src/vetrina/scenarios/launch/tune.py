"""Chooses on validation which model says whom to tell."""

from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, TrainingPlan
from vetrina.scenarios.launch.evaluate import evaluate
from vetrina.scenarios.launch.online import AudienceSelector


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """What reaches most buyers of the launches of validation gets the weight; without launches the usual one."""
    models = AudienceSelector(folder).models
    reached = {name: evaluate(folder, evaluation_data, only_model=name) for name in models}
    means = {name: float(found.values.mean()) for name, found in reached.items() if len(found.values)}
    if not means:
        return default_weights(models), {}
    best = max(means, key=lambda name: means[name])
    return {"audience": {m: float(m == best) for m in models}}, {"reach": means}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Trees where there were launches to learn from."""
    return {"audience": {m: float(m == models[-1]) for m in models}}
