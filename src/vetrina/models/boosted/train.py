"""Gradient-boosted trees (Friedman 2001) by LightGBM on cross-entropy, or on the squared error of a number.

There are as many as rows held out by chance find best.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers import tree_ensemble
from vetrina.layers.random_split import HELD_OUT_SHARE, held_out_mask
from vetrina.models.boosted.online import LOG_ODDS_FILE, REGRESSION_FILE

HYPERPARAMETERS = {"rate": 0.03, "leaves": 15, "least": 30, "columns": 0.4, "rows": 0.8, "penalty": 10.0}
_MAX_TREES = 1_200
_PATIENCE = 60


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``trees.onnx``, encoded columns to log-odds, or ``numbers.onnx``. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("boosted needs an encoded table")
    chosen = plan.hyperparameters_of("boosted", HYPERPARAMETERS)
    label = training_data.encoded_table.label
    x = training_data.encoded_table.dense
    held = held_out_mask(len(x), plan.seed)
    settings = {
        "objective": "binary" if training_data.encoded_table.label_scaler is None else "regression",
        "learning_rate": chosen["rate"],
        "num_leaves": int(chosen["leaves"]),
        "min_data_in_leaf": int(chosen["least"]),
        "feature_fraction": chosen["columns"],
        "bagging_fraction": chosen["rows"],
        "bagging_freq": 1,
        "lambda_l2": chosen["penalty"],
        "seed": plan.seed,
        "num_threads": plan.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    with progress.step("boosted: trees", 2) as step:
        judged = lightgbm.Dataset(x[held], label[held])
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        some = lightgbm.train(
            settings, lightgbm.Dataset(x[~held], label[~held]), _MAX_TREES, [judged], callbacks=[stop]
        )
        step.advance()
        count = max(1, round(some.best_iteration / (1.0 - HELD_OUT_SHARE)))
        trees = lightgbm.train(settings, lightgbm.Dataset(x, label), count)
        step.advance()
    tree_ensemble.save(
        trees, into / (LOG_ODDS_FILE if training_data.encoded_table.label_scaler is None else REGRESSION_FILE)
    )
    return {"trees": count, "columns": tree_ensemble.feature_importances(trees, [str(n) for n in range(x.shape[1])])}
