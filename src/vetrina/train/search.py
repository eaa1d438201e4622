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
from vetrina.core.progress import Progress, Silent
from vetrina.core.types import Evidence, Past, Plan, Recipe
from vetrina.metrics.bootstrap import paired
from vetrina.train.settled import Settled, write_scenario


class Rung(NamedTuple):
    """How far a trial goes before it is looked at: a share of a network's epochs, and how many are asked."""

    share: float
    units: int


COUNTS = (Rung(1.0, 250), Rung(1.0, 1_000), Rung(1.0, 3_000))
NETWORKS = (Rung(0.3, 1_000), Rung(1.0, 3_000))
_BEFORE_PRUNING, _DIGITS = 4, 4


def search(
    name: str, recipe: Recipe, past: Past, plan: Plan, evidence: Evidence, into: Path, progress: Progress
) -> tuple[dict[str, float], dict[str, Any]]:
    """The best settings of ``SPACE`` in the model's ``train.py``, and what was tried.

    ``into`` is a folder that ``prepare`` wrote. What the model has by itself is the first trial, and stays unless the best one is
    shown better on the same users: the best of many is the luckiest, too.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    part = plugins.part("models", name, "train")
    usual = plan.of(name, part.SETTINGS)
    rungs = NETWORKS if "epochs" in part.SETTINGS else COUNTS
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING),
    )
    judged: dict[int, NDArray[np.float64]] = {}
    study.enqueue_trial({key: usual[key] for key in part.SPACE})
    with progress.step(f"{name}: trials", plan.trials[name]) as step:

        def worth(trial: optuna.Trial) -> float:
            chosen = {key: round(trial.suggest_float(key, *part.SPACE[key]), _DIGITS) for key in part.SPACE}
            for number, rung in enumerate(rungs):
                tried = _fitted(name, recipe, past, plan, {**usual, **chosen}, rung, into, number)
                judged[trial.number] = _judged(recipe, tried, evidence, name, rung.units)
                trial.report(_mean(judged[trial.number]), number)
                if trial.should_prune():
                    step.advance()
                    raise optuna.TrialPruned
            step.advance()
            return _mean(judged[trial.number])

        study.optimize(worth, n_trials=plan.trials[name])
    shutil.rmtree(into.parent / "trial", ignore_errors=True)
    states = [t.state for t in study.trials]
    best = {key: round(value, _DIGITS) for key, value in study.best_params.items()}
    gain = paired(judged[study.best_trial.number], judged[0])
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


def _fitted(
    name: str, recipe: Recipe, past: Past, plan: Plan, chosen: Mapping[str, float], rung: Rung, into: Path, number: int
) -> Path:
    """A folder with the one model; it is learnt anew only where the rung lets it learn longer."""
    folder = into.parent / "trial"
    if number and rung.share == 1.0 and "epochs" not in chosen:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(into, folder, copy_function=_link)
    (folder / name).mkdir()
    if "epochs" in chosen:
        chosen = {**chosen, "stop": max(1, round(rung.share * chosen["epochs"]))}
    alone = replace(plan, settings={name: chosen})
    plugins.part("models", name, "train").fit(past, alone, folder / name, Silent())
    return folder


def _judged(recipe: Recipe, folder: Path, evidence: Evidence, name: str, units: int) -> NDArray[np.float64]:
    write_scenario(folder, recipe, (name,), Settled({"home": {name: 1.0}, "discover": {name: 1.0}}))
    judge = plugins.part("scenarios", recipe.scenario, "evaluate").evaluate
    return judge(folder, evidence, only=name, new_only=True, most=units).values


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
