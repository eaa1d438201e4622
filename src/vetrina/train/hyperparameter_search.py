"""Hyper-parameter search with Optuna: TPE sampler, median pruning, a fixed number of trials.

Each trial fits one model and evaluates it, on more and more users of the validation data or on one fold of a table after the
other; trials below the median of the earlier ones are pruned. The seed and the number of trials come from the plan and nothing
reads a clock, so that equal data give an equal result.

An engine with several workers evaluates as many trials at once. They are proposed together, and reported one after the other as
if they had been evaluated so; this process alone knows the study.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.search_range import SearchRange
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Compute, Recipe, TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.data.table_folds import Fold
from vetrina.engines import find_engine
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


@dataclass(frozen=True)
class _Trial:
    """Hyper-parameters to evaluate, and a folder for what is fitted with them."""

    hyperparameters: Mapping[str, float]
    folder: Path


# The metric of each user or row (n,), after each rung of a trial
_RungScores = Callable[[_Trial], Iterator[NDArray[np.float64]]]


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
    trial_plan = plan
    if plan.compute.engine != "local":
        trial_plan = replace(plan, compute=Compute(device="cpu"))  # a worker fits its trial itself
    rung_scores: _RungScores
    if folds:
        rung_scores = partial(_score_by_fold, name, folds, trial_plan)
    else:
        rung_scores = partial(_score_by_users, name, recipe, training_data, trial_plan, evaluation_data, into)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING),
    )
    study.enqueue_trial({key: defaults[key] for key in search_space})
    engine = find_engine(plan.compute, plan.threads)
    start_trial = engine.start_on_workers(rung_scores)
    trials_folder = into.parent / "trials"
    n_trials = plan.trials[name]
    scores_by_trial: dict[int, NDArray[np.float64]] = {}
    with progress.step(f"{name}: trials", n_trials) as step:
        for first in range(0, n_trials, engine.n_workers):
            proposed = [study.ask() for _ in range(min(engine.n_workers, n_trials - first))]
            scores_of_proposed: list[Iterator[NDArray[np.float64]]] = []
            for trial in proposed:
                hyperparameters = {**defaults, **_suggest(trial, search_space)}
                scores_of_proposed.append(start_trial(_Trial(hyperparameters, trials_folder / str(trial.number))))
            for trial, rungs in zip(proposed, scores_of_proposed, strict=True):
                scores_by_trial[trial.number] = _finish_trial(study, trial, rungs)
                step.advance()
            shutil.rmtree(trials_folder, ignore_errors=True)

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


def _suggest(trial: optuna.Trial, search_space: Mapping[str, SearchRange]) -> dict[str, float]:
    """The hyper-parameters that the sampler proposes for a trial."""
    proposed: dict[str, float] = {}
    for key, bounds in search_space.items():
        value = trial.suggest_float(key, bounds.low, bounds.high, log=bounds.is_logarithmic)
        proposed[key] = bounds.round(value)
    return proposed


def _finish_trial(
    study: optuna.Study, trial: optuna.Trial, rungs: Iterator[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Report a trial's rungs to the study until it is pruned or done; the metric of each user or row (n,) at its last rung."""
    scores: NDArray[np.float64] = np.empty(0)
    for number, scores in enumerate(rungs):
        trial.report(_mean(scores), number)
        if trial.should_prune():
            close = getattr(rungs, "close", None)  # of a generator: its worker stops
            if close is not None:
                close()
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return scores
    study.tell(trial, _mean(scores))
    return scores


def _score_by_users(
    name: str,
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    evaluation_data: EvaluationData,
    into: Path,
    trial: _Trial,
) -> Iterator[NDArray[np.float64]]:
    """The metric of each user, (n,), of more and more users, for a model of events."""
    rungs = COUNTING_MODEL_RUNGS
    if "epochs" in trial.hyperparameters:
        rungs = NETWORK_RUNGS
    for number, rung in enumerate(rungs):
        _fit_trial(name, training_data, plan, trial, rung, into, number)
        yield _evaluate_trial(recipe, trial.folder, evaluation_data, name, rung.max_units)


def _score_by_fold(
    name: str, folds: Sequence[Fold], plan: TrainingPlan, trial: _Trial
) -> Iterator[NDArray[np.float64]]:
    """The negative loss of each held-out row, (n,), of the folds so far, for a model of a table."""
    trial_plan = replace(plan, settings={name: trial.hyperparameters})
    scores: list[NDArray[np.float64]] = []
    for fold in folds:
        prediction = fit_and_predict(name, fold, trial_plan, trial.folder)
        row_loss = log_loss
        if fold.training.label_scaler is not None:
            row_loss = squared_error
        scores.append(-row_loss(fold.held_out.label, prediction))
        yield np.concatenate(scores)


def _fit_trial(
    name: str,
    training_data: TrainingData,
    plan: TrainingPlan,
    trial: _Trial,
    rung: Rung,
    into: Path,
    rung_number: int,
) -> None:
    """Fit the one model of a trial. From one rung to the next it is fitted again only if it may train for more epochs."""
    hyperparameters = trial.hyperparameters
    is_network = "epochs" in hyperparameters
    if rung_number and rung.epoch_share == 1.0 and not is_network:
        return
    shutil.rmtree(trial.folder, ignore_errors=True)
    shutil.copytree(into, trial.folder, copy_function=_hardlink)
    (trial.folder / name).mkdir()
    if is_network:
        last_epoch = max(1, round(rung.epoch_share * hyperparameters["epochs"]))
        hyperparameters = {**hyperparameters, "stop": last_epoch}
    trial_plan = replace(plan, settings={name: hyperparameters})
    find_model(name).fit(training_data, trial_plan, trial.folder / name, NoProgress())


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
