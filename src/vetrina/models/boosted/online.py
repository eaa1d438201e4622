"""Encoded rows in, probabilities out."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats, Rows
from vetrina.retrieval.trees import Trees


class Classifier:
    """One ONNX file of trees, which add up to log-odds."""

    def __init__(self, folder: Path) -> None:
        self._trees = Trees(folder / "trees.onnx")

    def probability(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        return (1.0 / (1.0 + np.exp(-np.clip(self._trees.score(rows.dense), -30, 30)))).astype(np.float32)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
