"""ONNX export and feature importances of LightGBM tree ensembles."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper

_NODE_ATTRIBUTES = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)


def write_tree_ensemble(trees: lightgbm.Booster, path: Path) -> None:
    """Write an ONNX file from ``features`` (n, width) float to ``scores`` (n, 1) that needs no LightGBM."""
    nodes: list[dict[str, Any]] = []
    for tree in trees.dump_model()["tree_info"]:
        nodes.extend(_onnx_nodes(tree["tree_index"], tree["tree_structure"]))
    node_attributes: dict[str, Any] = {key: [node[key] for node in nodes] for key in _NODE_ATTRIBUTES}
    leaves = [node for node in nodes if node["nodes_modes"] == "LEAF"]
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        target_treeids=[leaf["nodes_treeids"] for leaf in leaves],
        target_nodeids=[leaf["nodes_nodeids"] for leaf in leaves],
        target_ids=[0] * len(leaves),
        target_weights=[float(leaf["value"]) for leaf in leaves],
        **node_attributes,
    )
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, trees.num_feature()])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([ensemble], "trees", [features], [scores])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def _onnx_nodes(tree: int, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the ONNX attributes of every node of a tree, depth first; children get the next two free numbers."""
    stack = [(0, root)]
    next_number = 1
    while stack:
        number, node = stack.pop()
        if "leaf_value" in node:
            leaf: Sequence[Any] = (tree, number, 0, 0.0, "LEAF", 0, 0)
            yield dict(zip(_NODE_ATTRIBUTES, leaf, strict=True)) | {"value": node["leaf_value"]}
            continue
        left = next_number
        right = next_number + 1
        next_number += 2
        threshold = _round_down_to_float32(node["threshold"])
        branch: Sequence[Any] = (tree, number, node["split_feature"], threshold, "BRANCH_LEQ", left, right)
        yield dict(zip(_NODE_ATTRIBUTES, branch, strict=True))
        stack.append((right, node["right_child"]))
        stack.append((left, node["left_child"]))


def _round_down_to_float32(threshold: float) -> float:
    """The largest float32 that is not above ``threshold``: features are float32, so each stays on its side."""
    nearest = np.float32(threshold)
    if float(nearest) <= threshold:
        return float(nearest)
    return float(np.nextafter(nearest, np.float32(-np.inf)))


def feature_importances(trees: lightgbm.Booster, features: Sequence[str]) -> dict[str, float]:
    """Return each used feature's share of the gain of all splits, largest first."""
    gains = trees.feature_importance("gain")
    total = float(gains.sum())
    if total == 0.0:
        total = 1.0
    shares: dict[str, float] = {}
    for number in np.argsort(-gains).tolist():
        if gains[number] > 0:
            shares[str(features[number])] = round(float(gains[number]) / total, 4)
    return shares
