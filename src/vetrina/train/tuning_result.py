"""What validation decided, and the part of a folder that tells serving."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.types import Recipe


@dataclass(frozen=True)
class TuningResult:
    """What validation decided, and later fits only repeat."""

    weights: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def write_scenario_file(
    folder: Path, recipe: Recipe, model_names: tuple[str, ...], tuning_result: TuningResult
) -> None:
    """The part that says how models are combined."""
    content = {
        "scenario": recipe.scenario,
        "models": model_names,
        "weights": tuning_result.weights,
        "options": tuning_result.notes.get("options", {}),
        "metric": recipe.metric,
    }
    (folder / "scenario.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
