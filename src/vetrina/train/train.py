"""Training stage: fits every model once, prepares serving data, tunes the blend on validation data."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import Progress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Checkpoint, Recipe, TrainingPlan, TrainNotes
from vetrina.core.tuning_result import TuningResult
from vetrina.data.table_folds import Fold, encode_folds
from vetrina.scenarios.base import Scenario, find_scenario
from vetrina.train.hyperparameter_search import search_hyperparameters
from vetrina.train.model_cache import fit_cached
from vetrina.train.out_of_fold import out_of_fold_predictions
from vetrina.train.scenario_file import write_scenario_file

_Report = Mapping[str, Any]  # of a search or a tuning, as JSON values
TREES_FOLDER = "trees"  # a scenario's LambdaMART rankers; like the weights they are selected once, on validation data


@dataclass(frozen=True)
class _SearchResult:
    """Hyper-parameters that a search selected, and its report, each by model."""

    hyperparameters: Mapping[str, Mapping[str, float]]
    reports: Mapping[str, _Report]


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
    """Fit the models of a recipe and write each into a folder of its own beside ``scenario.json``.

    With ``validation`` and no ``tuning_result``, hyper-parameters are searched and the blend is tuned on it, and on as many
    folds of a table as the plan has. With a ``tuning_result``, its selection is repeated on other data. With neither, the blend
    has default weights.

    Args:
        recipe: Scenario, models, baselines and metric.
        training_data: What the models may see.
        digest: Digest of the training data, part of the model cache's key.
        data_split: ``fit``, ``judged`` or ``served``: which part of the snapshot the training data is.
        plan: Seed, threads, hyper-parameters, number of trials, models to leave out.
        into: Output folder; replaced if it exists.
        progress: Where progress is reported.
        validation: Validation data to tune on.
        tuning_result: Selection of an earlier call.
        trees_source: Folder with the LambdaMART rankers of that call.

    Returns:
        The checkpoint and the tuning result that its ``scenario.json`` was written from.
    """
    scenario = find_scenario(recipe.scenario)

    names = _planned_models(recipe, scenario, training_data, plan)
    if tuning_result is not None:
        names = _without_unweighted(names, recipe, scenario, tuning_result, data_split)

    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    prepared = scenario.prepare(training_data, into)
    if trees_source is not None:
        _copy_trees(trees_source, into)

    search = _SearchResult({}, {})
    folds: Sequence[Fold] = ()
    if validation is not None and tuning_result is None:
        folds = _encode_folds(training_data, validation, plan)
        search = _search(names, recipe, prepared, plan, validation, folds, into, progress)
        plan = _with_hyperparameters(plan, search)

    notes: dict[str, TrainNotes] = {}
    for name in names:
        notes[name] = fit_cached(name, prepared, digest, data_split, plan, into, progress)
    checkpoint = Checkpoint(recipe.scenario, into, notes)

    if tuning_result is not None:
        write_scenario_file(into, recipe, names, tuning_result)
        return checkpoint, tuning_result

    untuned = TuningResult(scenario.default_weights(names))
    write_scenario_file(into, recipe, names, untuned)
    if validation is None:
        return checkpoint, untuned

    further_folds = folds[1:]  # the first is predicted by the models in the folder
    if further_folds:
        out_of_fold = out_of_fold_predictions(names, further_folds, plan, into.parent / "fold", progress)
        validation = replace(validation, out_of_fold=out_of_fold)
    blend = scenario.tune(into, validation, plan, progress)
    tuned = _with_hyperparameters_and_reports(blend, notes, plan, search)
    write_scenario_file(into, recipe, names, tuned)
    return checkpoint, tuned


def _planned_models(
    recipe: Recipe, scenario: Scenario, training_data: TrainingData, plan: TrainingPlan
) -> tuple[str, ...]:
    """The recipe's models that this data supports, then those that the shop added, without those the plan leaves out."""
    supported = [name for name in scenario.models_for(training_data) if name in recipe.models]
    added = [name for name in recipe.models if name not in scenario.recipe.models]
    return tuple(name for name in (*supported, *added) if name not in plan.without)


def _without_unweighted(
    names: tuple[str, ...], recipe: Recipe, scenario: Scenario, tuning_result: TuningResult, data_split: str
) -> tuple[str, ...]:
    """Models that have to be fitted again: one without weight changes no answer.

    Baselines stay in the judged file, where the gate compares with them.
    """
    if not scenario.drops_unweighted_models:
        return names
    required = set(scenario.always_fitted)
    if data_split != "served":
        required.update(recipe.baselines)
    for blend_weights in tuning_result.weights.values():
        required |= {name for name, weight in blend_weights.items() if weight}
    return tuple(name for name in names if name in required)


def _copy_trees(source: Path, into: Path) -> None:
    """Copy the LambdaMART rankers of an earlier checkpoint, where it has any."""
    if (source / TREES_FOLDER).exists():
        shutil.copytree(source / TREES_FOLDER, into / TREES_FOLDER)


def _encode_folds(training_data: TrainingData, validation: EvaluationData, plan: TrainingPlan) -> Sequence[Fold]:
    """The folds of the table that the plan has; none for other data, or where only the models in the folder predict."""
    if training_data.table is None or validation.table is None:
        return ()
    if plan.folds <= 1 and not plan.trials:
        return ()
    return encode_folds(training_data.table, validation.table, plan.folds, plan.seed)


def _search(
    names: tuple[str, ...],
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    validation: EvaluationData,
    folds: Sequence[Fold],
    into: Path,
    progress: Progress,
) -> _SearchResult:
    """Search the hyper-parameters of each model that the plan has trials for."""
    hyperparameters: dict[str, Mapping[str, float]] = {}
    reports: dict[str, _Report] = {}
    for name in names:
        if name in plan.trials:
            best, report = search_hyperparameters(name, recipe, training_data, plan, validation, into, progress, folds)
            hyperparameters[name] = best
            reports[name] = report
    return _SearchResult(hyperparameters, reports)


def _with_hyperparameters(plan: TrainingPlan, search: _SearchResult) -> TrainingPlan:
    """The plan with the hyper-parameters that the search selected."""
    settings = dict(plan.settings)
    for name, best in search.hyperparameters.items():
        settings[name] = {**settings.get(name, {}), **best}
    return replace(plan, settings=settings)


def _with_hyperparameters_and_reports(
    blend: TuningResult, model_notes: Mapping[str, TrainNotes], plan: TrainingPlan, search: _SearchResult
) -> TuningResult:
    """The tuned blend with the hyper-parameters to repeat, and the reports of search and learning curves."""
    settings: dict[str, Mapping[str, float]] = {}
    learning_curves: dict[str, list[float]] = {}
    for name, notes in model_notes.items():
        used = notes.hyperparameters or plan.settings.get(name)
        if used:
            settings[name] = used
        if notes.validation_curve:
            learning_curves[name] = list(notes.validation_curve)

    report = dict(blend.report)
    if search.reports:
        report["search"] = search.reports
    report["learning"] = learning_curves
    return replace(blend, settings=settings, report=report)
