"""Training of a sequence network by one process, and by one and two single-threaded Ray workers.

A made log of 10,000 products and 40,000 users whose next product follows from their last one every other time; the gradient of
a step is 2.8 MB. All trainings have the same batches. An epoch's seconds are those of a training of several epochs less those of
one epoch, divided by the epochs between them, so that the start of the cluster and of the trainer is in neither. Quality is
NDCG@10 of each user's last product, 95 % bootstrap over users.
"""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.record import row
from vetrina.core.evaluation_data import EvaluationData, Targets
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import Compute, TrainingPlan
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.scenarios.base import find_scenario
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

_PRODUCTS = 10_000
_USERS = 40_000
_EVENTS_PER_USER = 30
_DAY = 86_400.0
_MINUTES = 10.0  # of the longer training by the local engine
_MAX_EVALUATED_USERS = 3_000


class Training(NamedTuple):
    """Wall seconds of a training, and the quality of its network."""

    seconds: float
    quality: str


def main(minutes: float = _MINUTES, users: int = _USERS) -> None:
    """One process, one worker, two workers.

    Args:
        minutes: Length of the longer training by one process.
        users: Users of the log.
    """
    log = made_log(users)
    plan = TrainingPlan(threads=1)
    once = fit(log, plan, 1)
    epoch_seconds = (fit(log, plan, 4).seconds - once.seconds) / 3
    epochs = max(4, round(60 * minutes / epoch_seconds))
    row("epochs of the longer training", str(epochs), f"load of the machine {os.getloadavg()[0]:.1f}")
    local = fit(log, plan, epochs)
    local_epoch = (local.seconds - once.seconds) / (epochs - 1)
    row("one process, s an epoch", f"{local_epoch:.2f}", f"NDCG@10 {local.quality}")
    epoch_of: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            by_ray = replace(plan, compute=Compute("ray", workers, folder=folder))
            fit(log, by_ray, 1)  # starts the cluster
            once = fit(log, by_ray, 1)
            many = fit(log, by_ray, epochs)
            epoch = (many.seconds - once.seconds) / (epochs - 1)
            epoch_of[workers] = epoch
            row(f"Ray, workers: {workers}, s an epoch", f"{epoch:.2f}", f"NDCG@10 {many.quality}")
            row(f"Ray, workers: {workers}, start of a trainer", f"{once.seconds - epoch:.1f} s")
    row("overhead of Ray beyond its start, one worker", f"{epoch_of[1] / local_epoch:.2f}", "goal at most 1.15")
    row("speed-up from one worker to two", f"{epoch_of[1] / epoch_of[2]:.2f}", "goal at least 1.4")
    row("load of the machine at the end", f"{os.getloadavg()[0]:.1f}")


def made_log(users: int) -> tuple[TrainingData, EvaluationData]:
    """A log without each user's last product, and these last products."""
    rng = np.random.default_rng(11)
    successor = rng.permutation(_PRODUCTS)
    popularity = 1.0 / np.arange(1, _PRODUCTS + 1) ** 0.8
    cumulative = np.cumsum(popularity / popularity.sum())
    steps = np.searchsorted(cumulative, rng.random((users, _EVENTS_PER_USER))).clip(max=_PRODUCTS - 1)
    for step in range(1, _EVENTS_PER_USER):
        follows = rng.random(users) < 0.5
        steps[follows, step] = successor[steps[follows, step - 1]]
    ids = np.array([f"p{n:05d}" for n in range(_PRODUCTS)])
    blank = ("",) * _PRODUCTS
    unknown = np.full(_PRODUCTS, np.nan)
    catalogue = Catalogue(ids, blank, blank, blank, blank, blank, unknown, unknown, unknown)
    names = np.array([f"u{n:07d}" for n in range(users)])
    past = steps[:, :-1]
    n_events = past.size
    until = _DAY * _EVENTS_PER_USER
    events = Interactions(
        names,
        np.tile(np.arange(users, dtype=np.int32), _EVENTS_PER_USER - 1),
        past.T.ravel().astype(np.int32),
        np.repeat(_DAY * np.arange(_EVENTS_PER_USER - 1), users).astype(np.float64),
        np.ones(n_events, np.float32),
        until,
    )
    evaluated = rng.permutation(users)[:_MAX_EVALUATED_USERS]
    wanted = tuple(steps[user, -1:].astype(np.int32) for user in evaluated.tolist())
    targets = Targets(tuple(names[evaluated].tolist()), wanted)
    return TrainingData(catalogue, events), EvaluationData(targets=targets, now=until)


def fit(log: tuple[TrainingData, EvaluationData], plan: TrainingPlan, epochs: int) -> Training:
    """A training of so many epochs."""
    training_data, evaluation_data = log
    plan = replace(plan, settings={"sasrec": {"epochs": epochs, "stop": epochs}})
    recipe = replace(RECIPE, models=("sasrec",), baselines=())
    root = Path(tempfile.mkdtemp())
    started = time.perf_counter()
    checkpoint, _ = train(recipe, training_data, "made", "fit", plan, root / "fit", NoProgress())
    seconds = time.perf_counter() - started
    scores = find_scenario("recommend").evaluate_trial(
        checkpoint.folder, evaluation_data, "sasrec", _MAX_EVALUATED_USERS
    )
    shutil.rmtree(root)
    interval = mean_interval(np.asarray(scores.values, np.float64))
    return Training(seconds, f"{interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}]")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
