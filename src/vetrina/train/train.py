"""The stage: fit every model once, prepare what serving needs, tune the blend on validation."""

import shutil
from dataclasses import replace
from pathlib import Path

from vetrina.core import plugins
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, EvaluationData, Recipe, TrainingData, TrainingPlan
from vetrina.train.hyperparameter_search import search_hyperparameters
from vetrina.train.model_cache import fit_cached
from vetrina.train.tuning_result import TuningResult, write_scenario_file

TREES_FOLDER = "trees"  # a scenario's rankers: like weights, chosen once on validation


def train(
    recipe: Recipe,
    training_data: TrainingData,
    digest: str,
    data_split: str,
    plan: TrainingPlan,
    into: Path,
    progress: Progress,
    *,
    validation: EvaluationData | None = None,
    tuning_result: TuningResult | None = None,
    trees_source: Path | None = None,
) -> tuple[Checkpoint, TuningResult]:
    """Write a folder with every model beside ``scenario.json``.

    ``digest`` and ``form`` (fit, judged or served) name the past. With ``validation`` the blend is tuned on it; with
    ``settled`` it is repeated, with the trees of the folder ``decided``.
    """
    tuning = plugins.load_module("scenarios", recipe.scenario, "tune")
    recipe_part = plugins.load_module("scenarios", recipe.scenario, "recipe")
    also = (m for m in recipe.models if m not in recipe_part.RECIPE.models)
    names = tuple(m for m in (*recipe_part.models_for(training_data), *also) if m not in plan.without)
    if tuning_result is not None:
        # A model that validation gave no weight serves nobody: it is not fitted again. Baselines stay for the gate.
        weighed = {m for weights in tuning_result.weights.values() for m, weight in weights.items() if weight}
        stay = {*recipe.baselines, *recipe_part.ALWAYS_FITTED}
        names = tuple(m for m in names if m in weighed or m in stay or not recipe_part.DROPS_UNWEIGHTED_MODELS)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    prepared = recipe_part.prepare(training_data, into)
    if trees_source is not None and (trees_source / TREES_FOLDER).exists():
        shutil.copytree(trees_source / TREES_FOLDER, into / TREES_FOLDER)
    searched = {}
    if validation is not None and tuning_result is None:
        searched = {
            n: search_hyperparameters(n, recipe, prepared, plan, validation, into, progress)
            for n in names
            if n in plan.trials
        }
        better = {name: {**plan.settings.get(name, {}), **best} for name, (best, _) in searched.items()}
        plan = replace(plan, settings={**plan.settings, **better})
    notes = {name: fit_cached(name, prepared, digest, data_split, plan, into, progress) for name in names}
    fresh = TuningResult(tuning.default_weights(names)) if tuning_result is None else tuning_result
    write_scenario_file(into, recipe, names, fresh)
    if validation is not None and tuning_result is None:
        weights, found = tuning.tune(into, validation, plan, progress)
        chosen = {n: note.get("settings", plan.settings.get(n)) for n, note in notes.items()}
        tried = {"search": {name: notes for name, (_, notes) in searched.items()}} if searched else {}
        learning = {n: note["held_out"] for n, note in notes.items() if isinstance(note.get("held_out"), list)}
        fresh = TuningResult(weights, {n: c for n, c in chosen.items() if c}, {**found, **tried, "learning": learning})
        write_scenario_file(into, recipe, names, fresh)
    return Checkpoint(recipe.scenario, into, notes), fresh
