"""A single tree, grown leaf by leaf for the largest gain in cross-entropy, or in squared error of a number.

Rows held out by chance choose among LEAVES.

A leaf says (positive + 1) / (rows + 2), Laplace's rule of succession; of numbers sum / (rows + 2), drawn to the mean of all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan
from vetrina.layers.random_split import held_out_mask
from vetrina.metrics.classification import log_loss
from vetrina.metrics.regression import squared_error
from vetrina.models.tree.online import TREE_FILE, DecisionTree, Node

LEAF_COUNTS = (2, 4, 8, 16, 32)
_MIN_ROWS_PER_LEAF = 20


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``tree.json``. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("tree needs an encoded table")
    x = training_data.encoded_table.dense
    label = training_data.encoded_table.label
    number = training_data.encoded_table.label_scaler is not None
    lost = squared_error if number else log_loss
    held = held_out_mask(len(x), plan.seed)
    losses: dict[int, float] = {}
    with progress.step("tree", len(LEAF_COUNTS) + 1) as step:
        for leaves in LEAF_COUNTS:
            some = DecisionTree(_grow_tree(x[~held], label[~held], leaves, number))
            losses[leaves] = float(lost(label[held], some.predict(EncodedTable(x[held]))).mean())
            step.advance()
        leaves = min(losses, key=lambda n: losses[n])
        (into / TREE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(_grow_tree(x, label, leaves, number))))
        step.advance()
    return {"leaves": leaves, "validation_loss": losses[leaves]}


def _grow_tree(x: Floats, label: Floats, leaves: int, number: bool) -> list[Node]:
    settings = {
        "objective": "regression" if number else "binary",
        "num_leaves": leaves,
        "min_data_in_leaf": min(_MIN_ROWS_PER_LEAF, max(1, len(x) // 10)),
        "learning_rate": 1.0,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    trees = lightgbm.train(settings, lightgbm.Dataset(x, label), 1)
    root = trees.dump_model()["tree_info"][0]["tree_structure"]
    nodes: list[Node] = []
    _add_node(root, x, label, np.arange(len(x)), nodes, 0.0 if number else 1.0)
    return nodes


def _add_node(found: dict[str, Any], x: Floats, label: Floats, rows: np.ndarray, nodes: list[Node], more: float) -> int:
    """Appends a node and all below it; returns its number. ``more`` is what two rows that nobody saw add up to."""
    number = len(nodes)
    probability = float((label[rows].sum() + more) / (len(rows) + 2.0))
    nodes.append(Node(len(rows), probability))
    if "split_feature" in found:
        column = int(found["split_feature"])
        threshold = float(found["threshold"])
        below = x[rows, column].astype(np.float64) <= threshold  # as Tree compares
        left = _add_node(found["left_child"], x, label, rows[below], nodes, more)
        right = _add_node(found["right_child"], x, label, rows[~below], nodes, more)
        nodes[number] = Node(len(rows), probability, column, threshold, left, right)
    return number
