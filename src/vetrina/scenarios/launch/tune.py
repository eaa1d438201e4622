"""Tuning of launch on validation data: the audience model with the highest reach."""

from pathlib import Path

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.scenarios.launch.evaluate import evaluate
from vetrina.scenarios.launch.online import AudienceSelector


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> TuningResult:
    """Weights of the audience models: the model that reaches most buyers of new items gets all the weight.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its targets are used.
        plan: not used.
        progress: not used.

    Returns:
        Weights of the blend "audience", and the mean reach by model; the default weights where there were no new items.
    """
    models = AudienceSelector(folder).models
    mean_reach = {}
    for name in models:
        reach = evaluate(folder, evaluation_data, only_model=name).values
        if len(reach):
            mean_reach[name] = float(reach.mean())
    if not mean_reach:
        return TuningResult(default_weights(models))
    best_model = max(mean_reach, key=lambda name: mean_reach[name])
    weights = {model: float(model == best_model) for model in models}
    return TuningResult({"audience": weights}, report={"reach": mean_reach})


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without validation data: the last model alone, which are the trees where they were trained."""
    return {"audience": {model: float(model == models[-1]) for model in models}}
