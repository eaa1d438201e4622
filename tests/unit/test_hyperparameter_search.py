"""Trials of settings on validation."""

from dataclasses import replace

import numpy as np

from vetrina.core.evaluation_data import EvaluationData, Targets
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

USERS = 60
ITEMS = 40
STEPS = 12
TRIALS = 12
PLAN = TrainingPlan(
    threads=1, without=("sasrec", "gru", "ease", "graph_filter", "sessions"), trials={"item_knn": TRIALS}
)


def circle(steps: int) -> tuple[TrainingData, EvaluationData]:
    """Every user goes on from product to product: whoever looks in one direction foretells the next."""
    number = np.arange(USERS * steps)
    user = number % USERS
    step = number // USERS
    rng = np.random.default_rng(3)
    item = np.where(rng.random(len(number)) < 0.3, rng.integers(0, ITEMS, len(number)), (user * 7 + step) % ITEMS)
    names = np.array([f"p{i:02d}" for i in range(ITEMS)])
    nothing = np.full(ITEMS, np.nan)
    text = ("x",) * ITEMS
    catalogue = Catalogue(names, text, text, text, text, text, nothing, nothing, nothing)
    users = np.array([f"u{u:02d}" for u in range(USERS)])
    events = Interactions(
        users,
        user.astype(np.int32),
        item.astype(np.int32),
        number.astype(float),
        np.ones(len(number), np.float32),
        float(len(number)),
    )
    wanted = tuple(np.array([(u * 7 + steps) % ITEMS], np.int32) for u in range(USERS))
    return TrainingData(catalogue, events), EvaluationData(
        targets=Targets(tuple(users), wanted), now=float(len(number))
    )


def run(tmp_path, plan: TrainingPlan):
    """Fit and tune."""
    past, holdout = circle(STEPS)
    past = replace(past, cache=tmp_path / "cache")
    return train(RECIPE, past, "digest", "fit", plan, tmp_path / "fit", NoProgress(), validation=holdout)


def test_the_best_trial_is_what_is_learnt_and_recorded_and_a_replay_finds_the_same(tmp_path):
    checkpoint, settled = run(tmp_path / "once", PLAN)
    tried = settled.report["search"]["item_knn"]
    assert tried["trials"] == TRIALS
    assert tried["best"] >= tried["usual"]
    assert tried["kept"] is True
    assert tried["gain"][0] > 0
    assert settled.settings["item_knn"] == tried["settings"]
    assert tried["settings"].keys() == {"decay", "back", "out_power", "in_power", "like", "fade"}
    assert not (tmp_path / "once/trials").exists()
    again, repeated = run(tmp_path / "again", PLAN)
    assert repeated.report["search"] == settled.report["search"]
    for file in sorted((checkpoint.folder / "item_knn").iterdir()):
        assert (again.folder / "item_knn" / file.name).read_bytes() == file.read_bytes()


def test_a_network_is_tried_with_few_epochs_before_it_gets_all(tmp_path):
    plan = replace(PLAN, without=("sasrec", "ease", "graph_filter", "sessions"), trials={"gru": 6})
    _, settled = run(tmp_path, replace(plan, settings={"gru": {"epochs": 6.0}}))
    tried = settled.report["search"]["gru"]
    assert tried["trials"] == 6
    assert settled.settings["gru"]["epochs"] == 6
    assert (tried["settings"].items() <= settled.settings["gru"].items()) is (
        tried["kept"] or tried["best"] == tried["usual"]
    )


def test_without_trials_nothing_is_searched(tmp_path):
    _, settled = run(tmp_path, replace(PLAN, trials={}))
    assert "search" not in settled.report
    assert "item_knn" not in settled.settings


def test_the_luckiest_of_many_is_not_kept_where_nothing_can_be_foretold(tmp_path):
    past, holdout = circle(STEPS)
    past = replace(past, cache=tmp_path / "cache")
    rng = np.random.default_rng(9)
    assert holdout.targets is not None
    chance = Targets(
        holdout.targets.user_ids, tuple(rng.integers(0, ITEMS, 1).astype(np.int32) for _ in holdout.targets.user_ids)
    )
    _, settled = train(
        RECIPE, past, "digest", "fit", PLAN, tmp_path / "fit", NoProgress(), validation=replace(holdout, targets=chance)
    )
    tried = settled.report["search"]["item_knn"]
    assert tried["best"] >= tried["usual"]
    assert tried["gain"][0] <= 0
    assert tried["kept"] is False
    assert "item_knn" not in settled.settings
