"""Audience model: boosted trees trained on the buyers and non-buyers of past launches.

The features of a user are as of before the launch. LightGBM on cross-entropy; the number of trees is chosen on a
quarter of the launches, held out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm

from vetrina.bundle.tree_ensemble.write import feature_importances, write_tree_ensemble
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes
from vetrina.data.launch_examples import COLUMNS, build_examples
from vetrina.features import category_levels
from vetrina.models.content import train as content
from vetrina.models.reach.model import MODEL

_MAX_TREES = 400
_PATIENCE = 30  # trees without a smaller validation loss
_HELD_OUT_ONE_IN = 4  # launches
_MIN_ROWS_PER_LEAF = 5  # where a share of the examples is less than the hyper-parameter ``least``
_MAX_BINS = 127  # of a feature


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``trees.onnx``.

    Args:
        training_data: Needs the catalogue, interactions that include launches, and the cache.
        plan: Seed, threads and hyper-parameters.
        into: The output folder.
        progress: Reports the steps.

    Returns:
        Report: number of launches, buyers and trees, the validation loss, and the importance of each feature.
    """
    catalogue = training_data.catalogue
    if catalogue is None or training_data.interactions is None:
        raise ValueError("reach needs a catalogue and behaviour")
    hyperparameters = MODEL.hyperparameters_in(plan)
    with progress.step("reach: launches and trees", 3) as step:
        level_codes = category_levels.level_codes(catalogue)[0]
        vectors = content.content_vectors(catalogue, plan, training_data.cache_folder, progress)
        examples = build_examples(training_data.interactions, level_codes, catalogue.prices, vectors, plan.seed)
        step.advance()
        settings = _lightgbm_settings(hyperparameters, plan, len(examples))
        is_held_out = examples.launch_index % _HELD_OUT_ONE_IN == 0
        train_set = lightgbm.Dataset(examples.features[~is_held_out], examples.is_buyer[~is_held_out])
        validation_set = lightgbm.Dataset(examples.features[is_held_out], examples.is_buyer[is_held_out])
        early_stopping = lightgbm.early_stopping(_PATIENCE, verbose=False)
        trial = lightgbm.train(settings, train_set, _MAX_TREES, [validation_set], callbacks=[early_stopping])
        step.advance()
        n_trees = max(1, round(trial.best_iteration * _HELD_OUT_ONE_IN / (_HELD_OUT_ONE_IN - 1)))
        trees = lightgbm.train(settings, lightgbm.Dataset(examples.features, examples.is_buyer), n_trees)
        step.advance()
    write_tree_ensemble(trees, into / "trees.onnx")
    validation_loss = float(trial.best_score["valid_0"]["binary_logloss"])
    return TrainNotes(
        report={
            "launches": int(examples.launch_index.max()) + 1,
            "buyers": int(examples.is_buyer.sum()),
            "trees": n_trees,
            "held_out": round(validation_loss, 5),
            "columns": feature_importances(trees, COLUMNS),
        }
    )


def _lightgbm_settings(hyperparameters: Mapping[str, float], plan: TrainingPlan, n_examples: int) -> dict[str, Any]:
    min_rows_per_leaf = min(hyperparameters["least"], max(_MIN_ROWS_PER_LEAF, n_examples // 100))
    return {
        "objective": "binary",
        "learning_rate": hyperparameters["rate"],
        "num_leaves": int(hyperparameters["leaves"]),
        "min_data_in_leaf": int(min_rows_per_leaf),
        "feature_fraction": hyperparameters["columns"],
        "lambda_l2": hyperparameters["penalty"],
        "max_bin": _MAX_BINS,
        "seed": plan.seed,
        "num_threads": plan.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
