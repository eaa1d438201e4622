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

TREES = "trees"  # a scenario's rankers: like weights, chosen once on validation


@dataclass(frozen=True)
class Settled:
    """What validation decided, and later fits only repeat."""

    weights: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
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
    decided: Path | None = None,
) -> tuple[Checkpoint, Settled]:
    """Write a folder with every model beside ``scenario.json``.

    With ``validation`` the blend is tuned on it; with ``settled`` it is repeated, with the trees of the folder ``decided``.
    A fitted model is kept below
    ``into.parent / "models"`` under (name, ``past_key``, plan), so a run that was cut off goes on with the next model.
    """
    tuning = plugins.part("scenarios", recipe.scenario, "tune")
    recipe_part = plugins.part("scenarios", recipe.scenario, "recipe")
    also = (m for m in recipe.models if m not in recipe_part.RECIPE.models)
    names = tuple(m for m in (*recipe_part.models_for(past), *also) if m not in plan.without)
    if settled is not None:
        # A model that validation gave no weight serves nobody: it is not fitted again. Baselines stay for the gate.
        weighed = {m for weights in settled.weights.values() for m, weight in weights.items() if weight}
        names = tuple(m for m in names if m in weighed or m in recipe.baselines or not recipe_part.OPTIONAL)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    prepared = recipe_part.prepare(past, into)
    if decided is not None and (decided / TREES).exists():
        shutil.copytree(decided / TREES, into / TREES)
    notes = {name: _fitted(name, prepared, past_key, plan, into, progress) for name in names}
    fresh = Settled(tuning.default_weights(names)) if settled is None else settled
    write_scenario(into, recipe, names, fresh)
    if validation is not None and settled is None:
        weights, found = tuning.tune(into, validation, progress)
        chosen = {name: note["settings"] for name, note in notes.items() if "settings" in note}
        fresh = Settled(weights, chosen, found)
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
    chosen = sorted(plan.settings.get(name, {}).items())
    key = sha256(f"{name} {past_key} {plan.seed} {chosen}{pieces}".encode()).hexdigest()[:24]
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
