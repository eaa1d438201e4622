"""A weighted sum and a sigmoid."""

from pathlib import Path

import numpy as np

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.types import Floats


class LogisticRegression:
    """One weight a column."""

    def __init__(self, folder: Path) -> None:
        self._weights = np.load(folder / "weights.npy")

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        z = rows.dense @ self._weights[:-1] + self._weights[-1]
        return (1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))).astype(np.float32)


def load(folder: Path) -> LogisticRegression:
    """Read what ``train`` wrote."""
    return LogisticRegression(folder)
