"""LightGBM's trees as an ONNX file that needs no LightGBM, and what they split by. Training side only."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper


def save(trees: lightgbm.Booster, path: Path) -> None:
    """ONNX: ``features`` (n, width) float to ``scores`` (n, 1), without LightGBM."""
    nodes = [
        n for tree in trees.dump_model()["tree_info"] for n in _onnx_nodes(tree["tree_index"], tree["tree_structure"])
    ]
    columns: dict[str, Any] = {key: [node[key] for node in nodes] for key in _NODE_ATTRIBUTES}
    leaves = [(n["nodes_treeids"], n["nodes_nodeids"], n["value"]) for n in nodes if n["nodes_modes"] == "LEAF"]
    trees_of, places, values = zip(*leaves, strict=True)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        target_treeids=list(trees_of),
        target_nodeids=list(places),
        target_ids=[0] * len(leaves),
        target_weights=[float(v) for v in values],
        **columns,
    )
    width = trees.num_feature()
    shape_in = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])
    shape_out = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([node], "trees", [shape_in], [shape_out])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


_NODE_ATTRIBUTES = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)


def _onnx_nodes(tree: int, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a tree in ONNX's terms, numbered in the order in which they are met."""
    waiting = [(0, root)]
    number = 1
    while waiting:
        at, node = waiting.pop()
        if "leaf_value" in node:
            numbers: Sequence[Any] = (tree, at, 0, 0.0, "LEAF", 0, 0)
            yield dict(zip(_NODE_ATTRIBUTES, numbers, strict=True)) | {"value": node["leaf_value"]}
            continue
        left = number
        right = number + 1
        number = number + 2
        numbers = (
            tree,
            at,
            node["split_feature"],
            _round_down_to_float32(node["threshold"]),
            "BRANCH_LEQ",
            left,
            right,
        )
        yield dict(zip(_NODE_ATTRIBUTES, numbers, strict=True))
        waiting += [(right, node["right_child"]), (left, node["left_child"])]


def _round_down_to_float32(threshold: float) -> float:
    """The largest 32-bit number that is no larger: features have 32 bits, so each falls on the same side."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def feature_importances(trees: lightgbm.Booster, features: Sequence[str]) -> dict[str, float]:
    """Share of the gain of splits by feature, the largest first."""
    gain = trees.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    shares: dict[str, float] = {}
    for at in (int(i) for i in np.argsort(-gain)):
        if gain[at] > 0:
            shares[str(features[at])] = round(float(gain[at]) / total, 4)
    return shares
