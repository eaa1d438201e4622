"""Decision tree grown leaf-wise, its number of leaves chosen on held-out rows.

Each split has the largest gain in cross-entropy, or in squared error of a numeric label. A leaf predicts (positive + 1)
/ (rows + 2), Laplace's rule of succession; a numeric one sum / (rows + 2), shrunk to the mean of all rows.
"""

from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask
from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.models.tree.online import TREE_FILE, DecisionTree, Node

LEAF_COUNTS = (2, 4, 8, 16, 32)
_MIN_ROWS_PER_LEAF = 20  # or a tenth of the rows, where that is less
_PRIOR_ROWS = 2.0  # rows that are added to a leaf


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``tree.json``.

    Args:
        training_data: Needs the encoded table.
        plan: Its seed decides on the held-out rows.
        into: The output folder.
        progress: Reports the trees.

    Returns:
        Report: number of leaves and the validation loss.
    """
    table = training_data.encoded_table
    if table is None:
        raise ValueError("tree needs an encoded table")
    x = table.dense
    label = table.label
    is_regression = table.label_scaler is not None
    loss_function = squared_error if is_regression else log_loss
    is_held_out = held_out_mask(len(x), plan.seed)
    losses: dict[int, float] = {}
    with progress.step("tree", len(LEAF_COUNTS) + 1) as step:
        for n_leaves in LEAF_COUNTS:
            tree = DecisionTree(_grow_tree(x[~is_held_out], label[~is_held_out], n_leaves, is_regression))
            predictions = tree.predict(EncodedTable(x[is_held_out]))
            losses[n_leaves] = float(loss_function(label[is_held_out], predictions).mean())
            step.advance()
        best_n_leaves = min(losses, key=lambda n_leaves: losses[n_leaves])
        nodes = _grow_tree(x, label, best_n_leaves, is_regression)
        (into / TREE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(nodes)))
        step.advance()
    return TrainNotes(report={"leaves": best_n_leaves, "validation_loss": losses[best_n_leaves]})


def _grow_tree(x: Floats, label: Floats, n_leaves: int, is_regression: bool) -> list[Node]:
    """Nodes of a tree, the root first."""
    settings = {
        "objective": "regression" if is_regression else "binary",
        "num_leaves": n_leaves,
        "min_data_in_leaf": min(_MIN_ROWS_PER_LEAF, max(1, len(x) // 10)),
        "learning_rate": 1.0,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    booster = lightgbm.train(settings, lightgbm.Dataset(x, label), 1)
    root = booster.dump_model()["tree_info"][0]["tree_structure"]
    prior_sum = 0.0 if is_regression else 1.0
    nodes: list[Node] = []
    _add_node(root, x, label, np.arange(len(x)), nodes, prior_sum)
    return nodes


def _add_node(
    structure: dict[str, Any],
    x: Floats,
    label: Floats,
    rows: NDArray[np.intp],
    nodes: list[Node],
    prior_sum: float,
) -> int:
    """Appends a node of LightGBM's ``structure`` with its descendants to ``nodes``; returns its number.

    ``rows`` are those that reach it, ``prior_sum`` is the sum of the labels of the _PRIOR_ROWS.
    """
    number = len(nodes)
    probability = float((label[rows].sum() + prior_sum) / (len(rows) + _PRIOR_ROWS))
    nodes.append(Node(len(rows), probability))
    if "split_feature" in structure:
        column = int(structure["split_feature"])
        threshold = float(structure["threshold"])
        is_below = x[rows, column].astype(np.float64) <= threshold  # as DecisionTree compares
        below = _add_node(structure["left_child"], x, label, rows[is_below], nodes, prior_sum)
        above = _add_node(structure["right_child"], x, label, rows[~is_below], nodes, prior_sum)
        nodes[number] = Node(len(rows), probability, column, threshold, below, above)
    return number
