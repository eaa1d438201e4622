"""Scenario file: what serving reads of a tuning result."""

from pathlib import Path

import msgspec

from vetrina.core.training_plan import Recipe
from vetrina.core.tuning_result import TuningResult


def write_scenario_file(
    folder: Path, recipe: Recipe, model_names: tuple[str, ...], tuning_result: TuningResult
) -> None:
    """Write ``scenario.json``, from which serving learns how the models are combined.

    Args:
        folder: Folder of the fitted models.
        recipe: Scenario and metric.
        model_names: Models in the folder.
        tuning_result: Blend weights, and the options of serving.
    """
    content = {
        "scenario": recipe.scenario,
        "models": model_names,
        "weights": tuning_result.weights,
        "options": tuning_result.serving_options,
        "metric": recipe.metric,
    }
    (folder / "scenario.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
