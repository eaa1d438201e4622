"""The stage: fit every model once, prepare what serving needs, tune the blend on validation."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core import plugins
from vetrina.core.files import folder_beside
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, Evidence, Past, Plan, Recipe


@dataclass(frozen=True)
class Settled:
    """What validation decided, and later fits only repeat."""

    weights: Mapping[str, Mapping[str, float]]
    epochs: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def train(
    recipe: Recipe,
    past: Past,
    past_key: str,
    plan: Plan,
    into: Path,
    progress: Progress,
    *,
    validation: Evidence | None = None,
    settled: Settled | None = None,
) -> tuple[Checkpoint, Settled]:
    """Write a folder with every model beside ``scenario.json``.

    With ``validation`` the blend is tuned on it; with ``settled`` it is repeated. A fitted model is kept below
    ``into.parent / "models"`` under (name, ``past_key``, plan), so a run that was cut off goes on with the next model.
    """
    evaluation = plugins.part("scenarios", recipe.scenario, "evaluate")
    recipe_part = plugins.part("scenarios", recipe.scenario, "recipe")
    names = recipe_part.models_for(past)
    if settled is not None:
        # A model that validation gave no weight serves nobody: it is not fitted again. Baselines stay for the gate.
        weighed = {m for weights in settled.weights.values() for m, weight in weights.items() if weight}
        names = tuple(m for m in names if m in weighed or m in recipe.baselines or not recipe_part.OPTIONAL)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    prepared = recipe_part.prepare(past, into)
    notes = {name: _fitted(name, prepared, past_key, plan, into, progress) for name in names}
    fresh = Settled(evaluation.default_weights(names)) if settled is None else settled
    write_scenario(into, recipe, names, fresh)
    if validation is not None and settled is None:
        weights, tuning = evaluation.tune(into, validation, progress)
        epochs = {name: int(note["epochs"]) for name, note in notes.items() if "epochs" in note and name == "sasrec"}
        fresh = Settled(weights, epochs, tuning)
        write_scenario(into, recipe, names, fresh)
    return Checkpoint(recipe.scenario, into, notes), fresh


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


def _fitted(name: str, past: Past, past_key: str, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    pieces = f" {plan.pieces}" if plan.halvings else ""
    key = sha256(f"{name} {past_key} {plan.seed} {plan.max_epochs} {dict(plan.epochs)}{pieces}".encode()).hexdigest()[
        :24
    ]
    kept = into.parent / "models" / f"{name}-{key}"
    if not kept.exists():
        with folder_beside(kept) as folder:
            notes = plugins.part("models", name, "train").fit(past, plan, folder, progress)
            (folder / "notes.json").write_bytes(msgspec.json.encode(dict(notes)))
    shutil.copytree(kept, into / name, copy_function=_link)
    (into / name / "notes.json").unlink()
    return msgspec.json.decode((kept / "notes.json").read_bytes())


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
