"""Folds of a table, out-of-fold predictions and trials of boosted trees."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data.table_folds import encode_folds
from vetrina.scenarios.predict.scenario import RECIPE
from vetrina.train import train
from vetrina.train.out_of_fold import out_of_fold_predictions

PLAN = TrainingPlan(threads=1, without=("mlp", "dcn", "tree"))


def table(rows: int, seed: int) -> LabelledTable:
    """A number that decides, one that says nothing, the number of the row, and one yes in ten rows more than by chance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    label = (rng.random(rows) < np.where(x > 0, 0.9, 0.1)).astype(np.float64)
    columns = {"x": x, "noise": rng.normal(size=rows), "row": np.arange(rows, dtype=float) + 1e6 * seed}
    return LabelledTable(columns, label)


def test_each_row_is_held_out_once_and_every_fold_has_its_share_of_each_label():
    training = table(800, 1)
    validation = table(200, 2)
    folds = encode_folds(training, validation, 5, seed=42)
    assert len(folds) == 5
    np.testing.assert_array_equal(folds[0].table.columns["row"], validation.columns["row"])
    held_out = np.concatenate([fold.table.columns["row"] for fold in folds])
    every_row = np.concatenate([training.columns["row"], validation.columns["row"]])
    np.testing.assert_array_equal(np.sort(held_out), np.sort(every_row))
    for fold in folds[1:]:
        assert len(fold.held_out) == 200
        assert len(fold.training) == 800
        assert abs(float(fold.table.label.sum()) - float(training.label.sum()) / 4) <= 1


def test_a_prediction_knows_nothing_of_its_own_row(tmp_path: Path):
    """Labels by chance, and a column that names the row: whoever was trained on a row would recognise it."""
    rng = np.random.default_rng(5)
    names = np.array([f"r{number}" for number in range(600)], dtype=object)
    by_chance = LabelledTable({"name": names}, (rng.random(600) < 0.5).astype(np.float64))
    training = by_chance.take(np.arange(480))
    validation = by_chance.take(np.arange(480, 600))
    folds = encode_folds(training, validation, 5, seed=42)
    predictions = out_of_fold_predictions(("boosted", "logistic"), folds, PLAN, tmp_path / "fold", NoProgress())
    assert len(predictions.table) == 600
    for prediction in predictions.predictions.values():
        assert abs(np.corrcoef(prediction, predictions.table.label)[0, 1]) < 0.15
    assert not (tmp_path / "fold").exists()


def test_numbers_are_in_the_unit_of_the_table_whatever_a_fold_scales_them_by(tmp_path: Path):
    rng = np.random.default_rng(6)
    x = rng.normal(size=500)
    amounts = LabelledTable({"x": x}, 1_000 + 100 * x)
    folds = encode_folds(amounts.take(np.arange(400)), amounts.take(np.arange(400, 500)), 5, seed=42)
    predictions = out_of_fold_predictions(("ridge",), folds, PLAN, tmp_path / "fold", NoProgress())
    np.testing.assert_allclose(predictions.predictions["ridge"], predictions.table.label, rtol=0.02)


def test_weights_are_chosen_on_all_folds_and_a_replay_chooses_the_same(tmp_path: Path):
    plan = replace(PLAN, folds=3)
    training = TrainingData(table=table(800, 1))
    validation = EvaluationData(table=table(200, 2))
    results = []
    for name in ("once", "again"):
        _, result = train(
            RECIPE, training, "d", "fit", plan, tmp_path / name / "fit", NoProgress(), validation=validation
        )
        results.append(result)
    assert results[0].report["rows"] == 200 + 2 * 200
    assert results[0] == results[1]
    assert sum(results[0].weights["predict"].values()) == 1.0


def test_trials_replace_hyperparameters_that_are_shown_worse(tmp_path: Path):
    """Trees that see one column each cannot tell whether two signs agree; trials find that they need both."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1_500, 2))
    label = (rng.random(1_500) < np.where(x[:, 0] * x[:, 1] > 0, 0.95, 0.05)).astype(np.float64)
    agree = LabelledTable({"x": x[:, 0], "y": x[:, 1]}, label)
    one_column = {"boosted": {"columns": 0.1}}
    plan = replace(
        PLAN, without=("mlp", "dcn", "tree", "logistic"), folds=2, trials={"boosted": 8}, settings=one_column
    )
    _, result = train(
        RECIPE,
        TrainingData(table=agree.take(np.arange(1_200))),
        "d",
        "fit",
        plan,
        tmp_path / "fit",
        NoProgress(),
        validation=EvaluationData(table=agree.take(np.arange(1_200, 1_500))),
    )
    search = result.report["search"]["boosted"]
    assert search["trials"] == 8
    assert search["kept"] is True
    assert search["best"] > search["usual"]
    assert result.settings["boosted"] == search["settings"]
    assert not (tmp_path / "trials").exists()
