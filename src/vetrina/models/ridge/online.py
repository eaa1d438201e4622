"""A weighted sum."""

from pathlib import Path

import numpy as np

from vetrina.core.tables import Rows
from vetrina.core.types import Floats


class Regression:
    """One weight a column."""

    def __init__(self, folder: Path) -> None:
        self._weights = np.load(folder / "weights.npy")

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        return (rows.dense @ self._weights[:-1] + self._weights[-1]).astype(np.float32)


def open(folder: Path) -> Regression:
    """Read what ``train`` wrote."""
    return Regression(folder)
