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

from vetrina.core.progress import Progress
from vetrina.core.tables import Rows
from vetrina.core.types import Floats, Past, Plan
from vetrina.layers.held_rows import held_out
from vetrina.metrics.classification import log_loss
from vetrina.metrics.regression import squared_error
from vetrina.models.tree.online import FILE, Node, Tree

LEAVES = (2, 4, 8, 16, 32)
_LEAST_ROWS = 20


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``tree.json``. Needs ``past.rows``."""
    if past.rows is None:
        raise ValueError("tree needs an encoded table")
    x, label, number = past.rows.dense, past.rows.label, past.rows.number is not None
    lost = squared_error if number else log_loss
    held = held_out(len(x), plan.seed)
    losses: dict[int, float] = {}
    with progress.step("tree", len(LEAVES) + 1) as step:
        for leaves in LEAVES:
            some = Tree(_grown(x[~held], label[~held], leaves, number))
            losses[leaves] = float(lost(label[held], some.expected(Rows(x[held]))).mean())
            step.advance()
        leaves = min(losses, key=lambda n: losses[n])
        (into / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(_grown(x, label, leaves, number))))
        step.advance()
    return {"leaves": leaves, "validation_loss": losses[leaves]}


def _grown(x: Floats, label: Floats, leaves: int, number: bool) -> list[Node]:
    settings = {
        "objective": "regression" if number else "binary",
        "num_leaves": leaves,
        "min_data_in_leaf": min(_LEAST_ROWS, max(1, len(x) // 10)),
        "learning_rate": 1.0,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    trees = lightgbm.train(settings, lightgbm.Dataset(x, label), 1)
    root = trees.dump_model()["tree_info"][0]["tree_structure"]
    nodes: list[Node] = []
    _add(root, x, label, np.arange(len(x)), nodes, 0.0 if number else 1.0)
    return nodes


def _add(found: dict[str, Any], x: Floats, label: Floats, rows: np.ndarray, nodes: list[Node], more: float) -> int:
    """Appends a node and all below it; returns its number. ``more`` is what two rows that nobody saw add up to."""
    number, probability = len(nodes), float((label[rows].sum() + more) / (len(rows) + 2.0))
    nodes.append(Node(len(rows), probability))
    if "split_feature" in found:
        column, threshold = int(found["split_feature"]), float(found["threshold"])
        below = x[rows, column].astype(np.float64) <= threshold  # as Tree compares
        left = _add(found["left_child"], x, label, rows[below], nodes, more)
        right = _add(found["right_child"], x, label, rows[~below], nodes, more)
        nodes[number] = Node(len(rows), probability, column, threshold, left, right)
    return number
