"""Gradient-boosted trees (Friedman 2001) by LightGBM for a binary or a numeric label.

The loss is the cross-entropy, or the squared error of a numeric label. The number of trees is chosen on held-out rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm

from vetrina.bundle.tree_ensemble.write import feature_importances, write_tree_ensemble
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import HELD_OUT_SHARE, held_out_mask
from vetrina.models.boosted.model import MODEL
from vetrina.models.boosted.online import LOG_ODDS_FILE, REGRESSION_FILE

_MAX_TREES = 1_200
_PATIENCE = 60  # trees without a smaller validation loss


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``trees.onnx``, from encoded columns to log-odds, or ``numbers.onnx`` for a numeric label.

    Args:
        training_data: Needs the encoded table.
        plan: Seed, threads and hyper-parameters.
        into: The output folder.
        progress: Reports the two fits.

    Returns:
        Report: number of trees, and the importance of each column.
    """
    table = training_data.encoded_table
    if table is None:
        raise ValueError("boosted needs an encoded table")
    x = table.dense
    is_regression = table.label_scaler is not None
    is_held_out = held_out_mask(len(x), plan.seed)
    settings = _lightgbm_settings(MODEL.hyperparameters_in(plan), plan, is_regression)
    with progress.step("boosted: trees", 2) as step:
        train_set = lightgbm.Dataset(x[~is_held_out], table.label[~is_held_out])
        validation_set = lightgbm.Dataset(x[is_held_out], table.label[is_held_out])
        early_stopping = lightgbm.early_stopping(_PATIENCE, verbose=False)
        trial = lightgbm.train(settings, train_set, _MAX_TREES, [validation_set], callbacks=[early_stopping])
        step.advance()
        n_trees = max(1, round(trial.best_iteration / (1.0 - HELD_OUT_SHARE)))
        trees = lightgbm.train(settings, lightgbm.Dataset(x, table.label), n_trees)
        step.advance()
    file_name = REGRESSION_FILE if is_regression else LOG_ODDS_FILE
    write_tree_ensemble(trees, into / file_name)
    column_names = [str(column) for column in range(x.shape[1])]
    return TrainNotes(report={"trees": n_trees, "columns": feature_importances(trees, column_names)})


def _lightgbm_settings(hyperparameters: Mapping[str, float], plan: TrainingPlan, is_regression: bool) -> dict[str, Any]:
    return {
        "objective": "regression" if is_regression else "binary",
        "learning_rate": hyperparameters["rate"],
        "num_leaves": int(hyperparameters["leaves"]),
        "min_data_in_leaf": int(hyperparameters["least"]),
        "feature_fraction": hyperparameters["columns"],
        "bagging_fraction": hyperparameters["rows"],
        "bagging_freq": 1,
        "lambda_l2": hyperparameters["penalty"],
        "seed": plan.seed,
        "num_threads": plan.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
