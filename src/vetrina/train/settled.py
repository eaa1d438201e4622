"""What validation decided, and the part of a folder that tells serving."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.types import Recipe


@dataclass(frozen=True)
class Settled:
    """What validation decided, and later fits only repeat."""

    weights: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def write_scenario(folder: Path, recipe: Recipe, names: tuple[str, ...], settled: Settled) -> None:
    """The part that says how models are combined."""
    content = {
        "scenario": recipe.scenario,
        "models": names,
        "weights": settled.weights,
        "options": settled.notes.get("options", {}),
        "metric": recipe.metric,
    }
    (folder / "scenario.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
