"""Prediction by logistic regression."""

from pathlib import Path

import numpy as np

from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable

_MAX_LOG_ODDS = 30.0  # exp of more says nothing and may overflow


class LogisticRegression:
    """One weight a column, and the intercept last."""

    def __init__(self, folder: Path) -> None:
        self._weights = np.load(folder / "weights.npy")

    def predict(self, rows: EncodedTable) -> Floats:
        """Probabilities (rows,) of an encoded table."""
        log_odds = rows.dense @ self._weights[:-1] + self._weights[-1]
        log_odds = np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
        return (1.0 / (1.0 + np.exp(-log_odds))).astype(np.float32)


def load(folder: Path) -> LogisticRegression:
    """Opens what ``train`` wrote."""
    return LogisticRegression(folder)
