"""Prediction by one readable decision tree, and its text form."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable

TREE_FILE = "tree.json"
_INDENT = "  "


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node: its number of training rows and their ``probability`` of a positive label, or their mean label.

    Rows with ``column`` <= ``threshold`` go to node ``below``, others to node ``above``. A leaf has no column (-1).
    """

    rows: int
    probability: float
    column: int = -1
    threshold: float = 0.0
    below: int = 0
    above: int = 0


class DecisionTree:
    """A decision tree given by its nodes, the root first."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self._column = np.array([node.column for node in nodes])
        self._threshold = np.array([node.threshold for node in nodes])
        self._children = np.array([[node.above, node.below] for node in nodes])
        self._probability = np.array([node.probability for node in nodes], np.float32)

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,) of an encoded table: the probability or mean of the leaf that a row falls into."""
        x = rows.dense
        node_of_row = np.zeros(len(x), np.intp)
        inner_rows = np.flatnonzero(self._column[node_of_row] >= 0)
        while inner_rows.size:
            nodes = node_of_row[inner_rows]
            values = x[inner_rows, self._column[nodes]].astype(np.float64)
            is_below = values <= self._threshold[nodes]
            node_of_row[inner_rows] = self._children[nodes, is_below.astype(np.intp)]
            inner_rows = np.flatnonzero(self._column[node_of_row] >= 0)
        return self._probability[node_of_row]

    def export_text(
        self,
        conditions: Callable[[int, float], tuple[str, str]],
        format_value: Callable[[float], str] = "yes {:.1%}".format,
    ) -> list[str]:
        """The tree as text, one line a node, indented by depth.

        Args:
            conditions: For a column and a threshold, the conditions that hold for rows below and above.
            format_value: Text of a leaf's probability or mean.

        Returns:
            Lines.
        """
        return list(_TextExport(self.nodes, conditions, format_value).lines(0, "", ""))


@dataclass(frozen=True)
class _TextExport:
    nodes: tuple[Node, ...]
    conditions: Callable[[int, float], tuple[str, str]]
    format_value: Callable[[float], str]

    def lines(self, number: int, indent: str, condition: str) -> Iterator[str]:
        """Lines of a node and its descendants; ``condition`` leads to the node, empty for the root."""
        node = self.nodes[number]
        if node.column < 0:
            prefix = f"{condition}: " if condition else ""
            yield f"{indent}{prefix}{self.format_value(node.probability)} ({node.rows:,} rows)"
            return
        child_indent = indent
        if condition:
            yield f"{indent}{condition}"
            child_indent = indent + _INDENT
        below, above = self.conditions(node.column, node.threshold)
        yield from self.lines(node.below, child_indent, below)
        yield from self.lines(node.above, child_indent, above)


def load(folder: Path) -> DecisionTree:
    """Opens what ``train`` wrote."""
    nodes = msgspec.json.decode((folder / TREE_FILE).read_bytes(), type=list[Node])
    return DecisionTree(nodes)
