"""Follows a row down one decision tree."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.types import Floats

TREE_FILE = "tree.json"


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """``rows`` that it was learnt from and the ``probability`` of a yes, or their mean in standard units.

    Rows with ``column`` <= ``threshold`` go to node ``below``.
    A leaf has no column (-1).
    """

    rows: int
    probability: float
    column: int = -1
    threshold: float = 0.0
    below: int = 0
    above: int = 0


class DecisionTree:
    """``nodes`` with the root first."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self._column = np.array([n.column for n in nodes])
        self._threshold = np.array([n.threshold for n in nodes])
        self._children = np.array([[n.above, n.below] for n in nodes])
        self._probability = np.array([n.probability for n in nodes], np.float32)

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        x = rows.dense
        at = np.zeros(len(x), np.intp)
        while (inner := np.flatnonzero(self._column[at] >= 0)).size:
            here = at[inner]
            below = x[inner, self._column[here]].astype(np.float64) <= self._threshold[here]
            at[inner] = self._children[here, below.astype(np.intp)]
        return self._probability[at]

    def export_text(
        self,
        conditions: Callable[[int, float], tuple[str, str]],
        format_value: Callable[[float], str] = "yes {:.1%}".format,
    ) -> list[str]:
        """For people: a line a node, set in by its depth; leaves say the share of yes among their rows, or what ``said`` makes
        of their value.

        ``conditions`` of a column and a threshold says what is so of rows below and above.
        """
        return list(self._node_lines(0, "", "", conditions, format_value))

    def _node_lines(
        self,
        at: int,
        margin: str,
        why: str,
        conditions: Callable[[int, float], tuple[str, str]],
        said: Callable[[float], str],
    ) -> Iterator[str]:
        node = self.nodes[at]
        if node.column < 0:
            yield f"{margin}{why + ': ' if why else ''}{said(node.probability)} ({node.rows:,} rows)"
            return
        if why:
            yield f"{margin}{why}"
        deeper = margin + "  " * bool(why)
        for child, then in zip((node.below, node.above), conditions(node.column, node.threshold), strict=True):
            yield from self._node_lines(child, deeper, then, conditions, said)


def load(folder: Path) -> DecisionTree:
    """Read what ``train`` wrote."""
    return DecisionTree(msgspec.json.decode((folder / TREE_FILE).read_bytes(), type=list[Node]))
