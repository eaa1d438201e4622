"""The stage: fit every model once, prepare what serving needs, tune the blend on validation."""

import shutil
from dataclasses import replace
from pathlib import Path

from vetrina.core import plugins
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, Evidence, Past, Plan, Recipe
from vetrina.train.fitted import fitted
from vetrina.train.search import search
from vetrina.train.settled import Settled, write_scenario

TREES = "trees"  # a scenario's rankers: like weights, chosen once on validation


def train(
    recipe: Recipe,
    past: Past,
    digest: str,
    form: str,
    plan: Plan,
    into: Path,
    progress: Progress,
    *,
    validation: Evidence | None = None,
    settled: Settled | None = None,
    decided: Path | None = None,
) -> tuple[Checkpoint, Settled]:
    """Write a folder with every model beside ``scenario.json``.

    ``digest`` and ``form`` (fit, judged or served) name the past. With ``validation`` the blend is tuned on it; with
    ``settled`` it is repeated, with the trees of the folder ``decided``.
    """
    tuning = plugins.part("scenarios", recipe.scenario, "tune")
    recipe_part = plugins.part("scenarios", recipe.scenario, "recipe")
    also = (m for m in recipe.models if m not in recipe_part.RECIPE.models)
    names = tuple(m for m in (*recipe_part.models_for(past), *also) if m not in plan.without)
    if settled is not None:
        # A model that validation gave no weight serves nobody: it is not fitted again. Baselines stay for the gate.
        weighed = {m for weights in settled.weights.values() for m, weight in weights.items() if weight}
        stay = {*recipe.baselines, *recipe_part.ALONE}
        names = tuple(m for m in names if m in weighed or m in stay or not recipe_part.OPTIONAL)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    prepared = recipe_part.prepare(past, into)
    if decided is not None and (decided / TREES).exists():
        shutil.copytree(decided / TREES, into / TREES)
    searched = {}
    if validation is not None and settled is None:
        searched = {n: search(n, recipe, prepared, plan, validation, into, progress) for n in names if n in plan.trials}
        better = {name: {**plan.settings.get(name, {}), **best} for name, (best, _) in searched.items()}
        plan = replace(plan, settings={**plan.settings, **better})
    notes = {name: fitted(name, prepared, digest, form, plan, into, progress) for name in names}
    fresh = Settled(tuning.default_weights(names)) if settled is None else settled
    write_scenario(into, recipe, names, fresh)
    if validation is not None and settled is None:
        weights, found = tuning.tune(into, validation, plan, progress)
        chosen = {n: note.get("settings", plan.settings.get(n)) for n, note in notes.items()}
        tried = {"search": {name: notes for name, (_, notes) in searched.items()}} if searched else {}
        learning = {n: note["held_out"] for n, note in notes.items() if isinstance(note.get("held_out"), list)}
        fresh = Settled(weights, {n: c for n, c in chosen.items() if c}, {**found, **tried, "learning": learning})
        write_scenario(into, recipe, names, fresh)
    return Checkpoint(recipe.scenario, into, notes), fresh
