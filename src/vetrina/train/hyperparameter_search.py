"""Hyper-parameter search with Optuna: TPE sampler, median pruning, a fixed number of trials.

Each trial fits one model and evaluates it, on more and more users of the validation data or on one fold of a table after the
other; trials below the median of the earlier ones are pruned. The seed and the number of trials come from the plan and nothing
reads a clock, so that equal data give an equal result.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Recipe, TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.data.table_folds import Fold
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.models.base import find_model
from vetrina.scenarios.base import find_scenario
from vetrina.train.out_of_fold import fit_and_predict
from vetrina.train.scenario_file import write_scenario_file


class Rung(NamedTuple):
    """How far a trial goes before it may be pruned: a share of a network's epochs, and how many users are evaluated."""

    epoch_share: float
    max_units: int


COUNTING_MODEL_RUNGS = (Rung(1.0, 250), Rung(1.0, 1_000), Rung(1.0, 3_000))
NETWORK_RUNGS = (Rung(0.3, 1_000), Rung(1.0, 3_000))
_TRIALS_BEFORE_PRUNING = 4

# The metric of each user or row (n,), after each rung of a trial with these hyper-parameters
_RungScores = Callable[[Mapping[str, float]], Iterator[NDArray[np.float64]]]


def search_hyperparameters(
    name: str,
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    evaluation_data: EvaluationData,
    into: Path,
    progress: Progress,
    folds: Sequence[Fold] = (),
) -> tuple[dict[str, float], dict[str, Any]]:
    """The best hyper-parameters in a model's ``search_space``, and a report of the search.

    The model's own hyper-parameters are the first trial. They stay unless the best trial is better on the same users or rows
    at the 95 % level: the best of many trials is also the luckiest.

    Args:
        name: Model to search for.
        recipe: Scenario and metric.
        training_data: Prepared training data.
        plan: Seed, number of trials, hyper-parameters that the search starts from.
        evaluation_data: Validation data.
        into: Folder that the scenario's ``prepare`` wrote; trials work in a copy of it.
        progress: Where progress is reported.
        folds: Folds of the table, for a model of a table.

    Returns:
        Selected hyper-parameters, empty where the model's own stay, and the report: ``trials``, ``ended_early``, the mean metric
        of the ``usual`` and of the ``best`` hyper-parameters, the paired ``gain`` (low, point, high), whether the best were
        ``kept``, and the best ``settings``.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    model = find_model(name)
    search_space = model.search_space
    defaults = model.hyperparameters_in(plan)
    rung_scores: _RungScores
    if folds:
        rung_scores = partial(_score_by_fold, name, folds, plan, into.parent / "trial")
    else:
        rung_scores = partial(_score_by_users, name, recipe, training_data, plan, evaluation_data, into)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING),
    )
    study.enqueue_trial({key: defaults[key] for key in search_space})
    scores_by_trial: dict[int, NDArray[np.float64]] = {}
    with progress.step(f"{name}: trials", plan.trials[name]) as step:

        def objective(trial: optuna.Trial) -> float:
            hyperparameters = dict(defaults)
            for key, bounds in search_space.items():
                value = trial.suggest_float(key, bounds.low, bounds.high, log=bounds.is_logarithmic)
                hyperparameters[key] = bounds.round(value)
            score = 0.0
            for number, scores in enumerate(rung_scores(hyperparameters)):
                scores_by_trial[trial.number] = scores
                score = _mean(scores)
                trial.report(score, number)
                if trial.should_prune():
                    step.advance()
                    raise optuna.TrialPruned
            step.advance()
            return score

        study.optimize(objective, n_trials=plan.trials[name])
    shutil.rmtree(into.parent / "trial", ignore_errors=True)

    states = [trial.state for trial in study.trials]
    best = {key: search_space[key].round(value) for key, value in study.best_params.items()}
    gain = paired_difference(scores_by_trial[study.best_trial.number], scores_by_trial[0])
    is_better = gain.low > 0
    report = {
        "trials": len(states),
        "ended_early": states.count(optuna.trial.TrialState.PRUNED),
        "usual": study.trials[0].value,
        "best": study.best_value,
        "gain": [gain.low, gain.point, gain.high],
        "kept": is_better,
        "settings": best,
    }
    if not is_better:
        return {}, report
    return best, report


def _score_by_users(
    name: str,
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    evaluation_data: EvaluationData,
    into: Path,
    hyperparameters: Mapping[str, float],
) -> Iterator[NDArray[np.float64]]:
    """The metric of each user, (n,), of more and more users, for a model of events."""
    rungs = COUNTING_MODEL_RUNGS
    if "epochs" in hyperparameters:
        rungs = NETWORK_RUNGS
    for number, rung in enumerate(rungs):
        folder = _fit_trial(name, recipe, training_data, plan, hyperparameters, rung, into, number)
        yield _evaluate_trial(recipe, folder, evaluation_data, name, rung.max_units)


def _score_by_fold(
    name: str, folds: Sequence[Fold], plan: TrainingPlan, folder: Path, hyperparameters: Mapping[str, float]
) -> Iterator[NDArray[np.float64]]:
    """The negative loss of each held-out row, (n,), of the folds so far, for a model of a table."""
    trial_plan = replace(plan, settings={name: hyperparameters})
    scores: list[NDArray[np.float64]] = []
    for fold in folds:
        prediction = fit_and_predict(name, fold, trial_plan, folder)
        row_loss = log_loss
        if fold.training.label_scaler is not None:
            row_loss = squared_error
        scores.append(-row_loss(fold.held_out.label, prediction))
        yield np.concatenate(scores)


def _fit_trial(
    name: str,
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    rung: Rung,
    into: Path,
    rung_number: int,
) -> Path:
    """A folder with the one model. From one rung to the next it is fitted again only if it may train for more epochs."""
    folder = into.parent / "trial"
    is_network = "epochs" in hyperparameters
    if rung_number and rung.epoch_share == 1.0 and not is_network:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(into, folder, copy_function=_hardlink)
    (folder / name).mkdir()
    if is_network:
        last_epoch = max(1, round(rung.epoch_share * hyperparameters["epochs"]))
        hyperparameters = {**hyperparameters, "stop": last_epoch}
    trial_plan = replace(plan, settings={name: hyperparameters})
    find_model(name).fit(training_data, trial_plan, folder / name, NoProgress())
    return folder


def _evaluate_trial(
    recipe: Recipe, folder: Path, evaluation_data: EvaluationData, name: str, max_units: int
) -> NDArray[np.float64]:
    """The metric of each user, (n,), for the model alone."""
    scenario = find_scenario(recipe.scenario)
    write_scenario_file(folder, recipe, (name,), TuningResult(scenario.default_weights((name,))))
    return scenario.evaluate_trial(folder, evaluation_data, name, max_units).values


def _mean(values: NDArray[np.float64]) -> float:
    if not len(values):
        return 0.0
    return float(values.mean())


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
