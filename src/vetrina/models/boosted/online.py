"""Encoded rows in, expected labels out."""

from pathlib import Path

import numpy as np

from vetrina.core.tables import Rows
from vetrina.core.types import Floats
from vetrina.retrieval.trees import Trees

ODDS, NUMBERS = "trees.onnx", "numbers.onnx"


class Classifier:
    """One ONNX file of trees, which add up to log-odds, or to the label itself in ``numbers.onnx``."""

    def __init__(self, folder: Path) -> None:
        self._number = (folder / NUMBERS).exists()
        self._trees = Trees(folder / (NUMBERS if self._number else ODDS))

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        found = self._trees.score(rows.dense)
        return found if self._number else (1.0 / (1.0 + np.exp(-np.clip(found, -30, 30)))).astype(np.float32)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
