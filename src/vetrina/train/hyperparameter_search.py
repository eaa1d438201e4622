"""Searches a model's settings: as many trials as the plan says, each judged on validation, the poor ones ended early.

Tree-structured Parzen estimators propose, the median of the trials before ends (both Optuna). The seed and the number of
trials come from the plan and nothing looks at a clock, so that equal data give an equal result.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.types import EvaluationData, Recipe, TrainingData, TrainingPlan
from vetrina.metrics.bootstrap import paired_difference
from vetrina.train.tuning_result import TuningResult, write_scenario_file


class Rung(NamedTuple):
    """How far a trial goes before it is looked at: a share of a network's epochs, and how many are asked."""

    epoch_share: float
    max_units: int


COUNTING_MODEL_RUNGS = (Rung(1.0, 250), Rung(1.0, 1_000), Rung(1.0, 3_000))
NETWORK_RUNGS = (Rung(0.3, 1_000), Rung(1.0, 3_000))
_TRIALS_BEFORE_PRUNING = 4
_SETTING_DECIMALS = 4


def search_hyperparameters(
    name: str,
    recipe: Recipe,
    training_data: TrainingData,
    plan: TrainingPlan,
    evaluation_data: EvaluationData,
    into: Path,
    progress: Progress,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The best settings of ``SPACE`` in the model's ``train.py``, and what was tried.

    ``into`` is a folder that ``prepare`` wrote. What the model has by itself is the first trial, and stays unless the best one is
    shown better on the same users: the best of many is the luckiest, too.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    part = plugins.load_module("models", name, "train")
    usual = plan.hyperparameters_of(name, part.HYPERPARAMETERS)
    rungs = NETWORK_RUNGS if "epochs" in part.HYPERPARAMETERS else COUNTING_MODEL_RUNGS
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING),
    )
    judged: dict[int, NDArray[np.float64]] = {}
    study.enqueue_trial({key: usual[key] for key in part.SEARCH_SPACE})
    with progress.step(f"{name}: trials", plan.trials[name]) as step:

        def worth(trial: optuna.Trial) -> float:
            chosen = {
                key: round(trial.suggest_float(key, *part.SEARCH_SPACE[key]), _SETTING_DECIMALS)
                for key in part.SEARCH_SPACE
            }
            for number, rung in enumerate(rungs):
                tried = _fit_trial(name, recipe, training_data, plan, {**usual, **chosen}, rung, into, number)
                judged[trial.number] = _evaluate_trial(recipe, tried, evaluation_data, name, rung.max_units)
                trial.report(_mean(judged[trial.number]), number)
                if trial.should_prune():
                    step.advance()
                    raise optuna.TrialPruned
            step.advance()
            return _mean(judged[trial.number])

        study.optimize(worth, n_trials=plan.trials[name])
    shutil.rmtree(into.parent / "trial", ignore_errors=True)
    states = [t.state for t in study.trials]
    best = {key: round(value, _SETTING_DECIMALS) for key, value in study.best_params.items()}
    gain = paired_difference(judged[study.best_trial.number], judged[0])
    kept = gain.low > 0
    return best if kept else {}, {
        "trials": len(states),
        "ended_early": states.count(optuna.trial.TrialState.PRUNED),
        "usual": study.trials[0].value,
        "best": study.best_value,
        "gain": [gain.low, gain.point, gain.high],
        "kept": kept,
        "settings": best,
    }


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
    """A folder with the one model; it is learnt anew only where the rung lets it learn longer."""
    folder = into.parent / "trial"
    if rung_number and rung.epoch_share == 1.0 and "epochs" not in hyperparameters:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(into, folder, copy_function=_hardlink)
    (folder / name).mkdir()
    if "epochs" in hyperparameters:
        hyperparameters = {**hyperparameters, "stop": max(1, round(rung.epoch_share * hyperparameters["epochs"]))}
    alone = replace(plan, settings={name: hyperparameters})
    plugins.load_module("models", name, "train").fit(training_data, alone, folder / name, NoProgress())
    return folder


def _evaluate_trial(
    recipe: Recipe, folder: Path, evaluation_data: EvaluationData, name: str, max_units: int
) -> NDArray[np.float64]:
    write_scenario_file(folder, recipe, (name,), TuningResult({"home": {name: 1.0}, "discover": {name: 1.0}}))
    judge = plugins.load_module("scenarios", recipe.scenario, "evaluate").evaluate
    return judge(folder, evaluation_data, only_model=name, new_items_only=True, max_units=max_units).values


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
