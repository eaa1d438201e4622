"""Tuning result: blend weights, settings and notes, and the scenario file that serving reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.training_plan import Recipe


@dataclass(frozen=True)
class TuningResult:
    """What was selected on validation data; later fits repeat it.

    ``weights`` holds one dictionary of model weights for each blend, ``settings`` the hyper-parameters of each model that differ
    from its own, ``notes`` what the scenario's tuning reports (``options`` among them configures serving).
    """

    weights: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def write_scenario_file(
    folder: Path, recipe: Recipe, model_names: tuple[str, ...], tuning_result: TuningResult
) -> None:
    """Write ``scenario.json``, from which serving learns how the models are combined.

    Args:
        folder: Folder of the fitted models.
        recipe: Scenario and metric.
        model_names: Models in the folder.
        tuning_result: Blend weights, and the options of serving in its notes.
    """
    content = {
        "scenario": recipe.scenario,
        "models": model_names,
        "weights": tuning_result.weights,
        "options": tuning_result.notes.get("options", {}),
        "metric": recipe.metric,
    }
    (folder / "scenario.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
