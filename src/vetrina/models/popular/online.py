"""The same list for everyone."""

from pathlib import Path

import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "many shoppers take this now"


class Popular:
    """Holds one score per product."""

    def __init__(self, folder: Path) -> None:
        self._scores = np.load(folder / "scores.npy", mmap_mode="r")

    def score(self, history: History) -> Floats:
        """(items,) float32 in 0..1."""
        return self._scores


def load(folder: Path) -> Popular:
    """Read what ``train`` wrote."""
    return Popular(folder)
