"""LambdaMART (Burges 2010) by LightGBM, and its trees as an ONNX file. Training side only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vetrina.core.types import Floats

SETTINGS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 127,
    "verbose": -1,
    "deterministic": True,
    "force_col_wise": True,
}
_MOST_TREES, _PATIENCE = 400, 40


@dataclass(frozen=True)
class Lists:
    """Candidates of lists one after the other: ``features`` (n, width), ``gains`` (n,) whole numbers, ``sizes`` (lists,).

    With ``start`` (n,) trees learn what to add to these scores, else the whole order.
    """

    features: Floats
    gains: NDArray[np.int32]
    sizes: NDArray[np.int64]
    start: Floats | None = None

    def take(self, lists: NDArray[np.intp]) -> "Lists":
        """Some of the lists, in that order."""
        starts = np.cumsum(self.sizes) - self.sizes
        sizes = self.sizes[lists]
        before = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[lists] - before, sizes) + np.arange(int(sizes.sum()))
        start = None if self.start is None else self.start[rows]
        return Lists(self.features[rows], self.gains[rows], sizes, start)


@dataclass(frozen=True)
class Learnt:
    """The trees of all lists, and what trees of the other half say about every row (n,)."""

    trees: lightgbm.Booster
    crossed: Floats


def fit(lists: Lists, levels: int, seed: int, threads: int) -> Learnt:
    """As many trees as halves of the lists find best for each other; ``levels`` places of a list count."""
    settings = {**SETTINGS, "lambdarank_truncation_level": levels, "seed": seed, "num_threads": threads}
    settings |= {"metric": "ndcg", "eval_at": [levels]}
    halves = np.array_split(np.random.default_rng(seed).permutation(len(lists.sizes)), 2)
    starts = np.cumsum(lists.sizes) - lists.sizes
    crossed, counts = np.zeros(len(lists.features), np.float32), []
    for own, other in (halves, halves[::-1]):
        learnt, judged = lists.take(own), lists.take(other)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        found = lightgbm.train(settings, _set(learnt), _MOST_TREES, [_set(judged)], callbacks=[stop])
        values, at = np.asarray(found.predict(judged.features), np.float32), 0
        for which in other:
            size = int(lists.sizes[which])
            crossed[starts[which] : starts[which] + size] = values[at : at + size]
            at += size
        counts.append(found.best_iteration)
    trees = lightgbm.train(settings, _set(lists), max(1, round(1.2 * float(np.mean(counts)))))
    return Learnt(trees, crossed)


def _set(lists: Lists) -> lightgbm.Dataset:
    return lightgbm.Dataset(lists.features, lists.gains, group=lists.sizes, init_score=lists.start, free_raw_data=False)


def save(trees: lightgbm.Booster, path: Path) -> None:
    """ONNX: ``features`` (n, width) float to ``scores`` (n, 1), without LightGBM."""
    nodes = [n for tree in trees.dump_model()["tree_info"] for n in _nodes(tree["tree_index"], tree["tree_structure"])]
    columns: dict[str, Any] = {key: [node[key] for node in nodes] for key in _NODE}
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


_NODE = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)


def _nodes(tree: int, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a tree in ONNX's terms, numbered in the order in which they are met."""
    waiting, number = [(0, root)], 1
    while waiting:
        at, node = waiting.pop()
        if "leaf_value" in node:
            numbers: Sequence[Any] = (tree, at, 0, 0.0, "LEAF", 0, 0)
            yield dict(zip(_NODE, numbers, strict=True)) | {"value": node["leaf_value"]}
            continue
        left, right, number = number, number + 1, number + 2
        numbers = (tree, at, node["split_feature"], _below(node["threshold"]), "BRANCH_LEQ", left, right)
        yield dict(zip(_NODE, numbers, strict=True))
        waiting += [(right, node["right_child"]), (left, node["left_child"])]


def _below(threshold: float) -> float:
    """The largest 32-bit number that is no larger: features have 32 bits, so each falls on the same side."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def names_of(trees: lightgbm.Booster, features: Sequence[str]) -> dict[str, float]:
    """Share of the gain of splits by feature, the largest first."""
    gain = trees.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    shares: dict[str, float] = {}
    for at in (int(i) for i in np.argsort(-gain)):
        if gain[at] > 0:
            shares[str(features[at])] = round(float(gain[at]) / total, 4)
    return shares
