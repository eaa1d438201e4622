"""Learns from products that were launched before: of each, who bought it and who did not, as users were before it came.

LightGBM on cross-entropy; as many trees as one half of the launches finds best for the other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.features import category_levels
from vetrina.layers import tree_ensemble
from vetrina.layers.launch_examples import COLUMNS, build_examples
from vetrina.models.content import train as content

HYPERPARAMETERS = {"rate": 0.05, "leaves": 31, "least": 50, "columns": 0.6, "penalty": 5.0}
_MAX_TREES = 400
_PATIENCE = 30
_HELD_OUT_ONE_IN = 4


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``trees.onnx``. Needs the catalogue and behaviour with launches in it."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("reach needs a catalogue and behaviour")
    chosen = plan.hyperparameters_of("reach", HYPERPARAMETERS)
    with progress.step("reach: launches and trees", 3) as step:
        codes = category_levels.level_codes(training_data.catalogue)[0]
        vectors = content.content_vectors(training_data.catalogue, plan, into, progress)
        found = build_examples(training_data.interactions, codes, training_data.catalogue.prices, vectors, plan.seed)
        step.advance()
        settings = {
            "objective": "binary",
            "learning_rate": chosen["rate"],
            "num_leaves": int(chosen["leaves"]),
            "min_data_in_leaf": int(min(chosen["least"], max(5, len(found) // 100))),
            "feature_fraction": chosen["columns"],
            "lambda_l2": chosen["penalty"],
            "max_bin": 127,
            "seed": plan.seed,
            "num_threads": plan.threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbose": -1,
        }
        held = found.launch_index % _HELD_OUT_ONE_IN == 0
        learnt = lightgbm.Dataset(found.features[~held], found.is_buyer[~held])
        judged = lightgbm.Dataset(found.features[held], found.is_buyer[held])
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        some = lightgbm.train(settings, learnt, _MAX_TREES, [judged], callbacks=[stop])
        step.advance()
        count = max(1, round(some.best_iteration * _HELD_OUT_ONE_IN / (_HELD_OUT_ONE_IN - 1)))
        trees = lightgbm.train(settings, lightgbm.Dataset(found.features, found.is_buyer), count)
        step.advance()
    tree_ensemble.save(trees, into / "trees.onnx")
    launches = int(found.launch_index.max()) + 1
    return {
        "launches": launches,
        "buyers": int(found.is_buyer.sum()),
        "trees": count,
        "held_out": round(float(some.best_score["valid_0"]["binary_logloss"]), 5),
        "columns": tree_ensemble.feature_importances(trees, COLUMNS),
    }
