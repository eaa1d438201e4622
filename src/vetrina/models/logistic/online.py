"""A weighted sum and a sigmoid."""

from pathlib import Path

import numpy as np

from vetrina.core.tables import Rows
from vetrina.core.types import Floats


class Classifier:
    """One weight a column."""

    def __init__(self, folder: Path) -> None:
        self._weights = np.load(folder / "weights.npy")

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        z = rows.dense @ self._weights[:-1] + self._weights[-1]
        return (1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))).astype(np.float32)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
