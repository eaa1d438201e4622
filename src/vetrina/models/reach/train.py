"""Learns from products that were launched before: of each, who bought it and who did not, as users were before it came.

LightGBM on cross-entropy; as many trees as one half of the launches finds best for the other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.features import kinds
from vetrina.layers import tree_ensemble
from vetrina.layers.launches import COLUMNS, examples
from vetrina.models.content import train as content

SETTINGS = {"rate": 0.05, "leaves": 31, "least": 50, "columns": 0.6, "penalty": 5.0}
_MOST_TREES, _PATIENCE, _HELD = 400, 30, 4


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``trees.onnx``. Needs the catalogue and behaviour with launches in it."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("reach needs a catalogue and behaviour")
    chosen = plan.of("reach", SETTINGS)
    with progress.step("reach: launches and trees", 3) as step:
        codes = kinds.codes(past.catalogue)[0]
        vectors = content.vectors(past.catalogue, plan, into, progress)
        found = examples(past.interactions, codes, past.catalogue.prices, vectors, plan.seed)
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
        held = found.launch % _HELD == 0
        learnt = lightgbm.Dataset(found.features[~held], found.bought[~held])
        judged = lightgbm.Dataset(found.features[held], found.bought[held])
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        some = lightgbm.train(settings, learnt, _MOST_TREES, [judged], callbacks=[stop])
        step.advance()
        count = max(1, round(some.best_iteration * _HELD / (_HELD - 1)))
        trees = lightgbm.train(settings, lightgbm.Dataset(found.features, found.bought), count)
        step.advance()
    tree_ensemble.save(trees, into / "trees.onnx")
    launches = int(found.launch.max()) + 1
    return {
        "launches": launches,
        "buyers": int(found.bought.sum()),
        "trees": count,
        "held_out": round(float(some.best_score["valid_0"]["binary_logloss"]), 5),
        "columns": tree_ensemble.names_of(trees, COLUMNS),
    }
