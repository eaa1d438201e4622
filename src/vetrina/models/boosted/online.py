"""Prediction by boosted trees in ONNX Runtime."""

from pathlib import Path

import numpy as np

from vetrina.bundle.tree_ensemble.read import Trees
from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable

LOG_ODDS_FILE = "trees.onnx"
REGRESSION_FILE = "numbers.onnx"
_MAX_LOG_ODDS = 30.0  # exp of more says nothing and may overflow


class BoostedTrees:
    """One ONNX file of trees whose sum is the log-odds, or the label itself in ``numbers.onnx``."""

    def __init__(self, folder: Path) -> None:
        regression_file = folder / REGRESSION_FILE
        self._is_regression = regression_file.exists()
        if self._is_regression:
            self._trees = Trees(regression_file)
        else:
            self._trees = Trees(folder / LOG_ODDS_FILE)

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,): a probability, or a number in standard units."""
        scores = self._trees.score(rows.dense)
        if self._is_regression:
            return scores
        log_odds = np.clip(scores, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
        return (1.0 / (1.0 + np.exp(-log_odds))).astype(np.float32)


def load(folder: Path) -> BoostedTrees:
    """Opens what ``train`` wrote."""
    return BoostedTrees(folder)
