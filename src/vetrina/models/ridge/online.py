"""Prediction by ridge regression."""

from pathlib import Path

import numpy as np

from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable


class RidgeRegression:
    """One weight a column, and the intercept last."""

    def __init__(self, folder: Path) -> None:
        self._weights = np.load(folder / "weights.npy")

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,) in standard units."""
        return (rows.dense @ self._weights[:-1] + self._weights[-1]).astype(np.float32)


def load(folder: Path) -> RidgeRegression:
    """Opens what ``train`` wrote."""
    return RidgeRegression(folder)
