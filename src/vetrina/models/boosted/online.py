"""Encoded rows in, expected labels out."""

from pathlib import Path

import numpy as np

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.types import Floats
from vetrina.retrieval.trees import Trees

LOG_ODDS_FILE = "trees.onnx"
REGRESSION_FILE = "numbers.onnx"


class BoostedTrees:
    """One ONNX file of trees, which add up to log-odds, or to the label itself in ``numbers.onnx``."""

    def __init__(self, folder: Path) -> None:
        self._is_regression = (folder / REGRESSION_FILE).exists()
        self._trees = Trees(folder / (REGRESSION_FILE if self._is_regression else LOG_ODDS_FILE))

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        found = self._trees.score(rows.dense)
        return found if self._is_regression else (1.0 / (1.0 + np.exp(-np.clip(found, -30, 30)))).astype(np.float32)


def load(folder: Path) -> BoostedTrees:
    """Read what ``train`` wrote."""
    return BoostedTrees(folder)
