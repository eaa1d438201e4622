"""Encoded rows in, probabilities out."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats
from vetrina.retrieval.trees import Trees


class Classifier:
    """One ONNX file of trees, which add up to log-odds."""

    def __init__(self, folder: Path) -> None:
        self._trees = Trees(folder / "trees.onnx")

    def probability(self, x: Floats) -> Floats:
        """(rows,) for encoded ``x`` (rows, columns)."""
        return (1.0 / (1.0 + np.exp(-np.clip(self._trees.score(x), -30, 30)))).astype(np.float32)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
