"""Whoever took something most like the product comes first."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import COLUMNS
from vetrina.features.similarity import SIMILARITY_FEATURES as LIKENESS

INT8_SCALE = np.float32(127.0)  # what stands for 1
_NEAREST_COLUMN = len(COLUMNS) + LIKENESS.index("likeness: nearest")


class Content:
    """``vectors`` (items, width) of the catalogue."""

    def __init__(self, folder: Path) -> None:
        self.vectors: Floats = np.load(folder / "vectors.npy").astype(np.float32) / INT8_SCALE

    def score(self, features: Floats) -> Floats:
        """(users,) for ``features`` (users, those of affinities and of likeness)."""
        return features[:, _NEAREST_COLUMN]

    def mean_vector(self, items: Ints) -> Floats:
        """(width,) of length 1: what some products are on the whole; zeros for none."""
        middle = self.vectors[items].sum(axis=0) if len(items) else np.zeros(self.vectors.shape[1], np.float32)
        return middle / max(float(np.linalg.norm(middle)), 1e-9)


def load(folder: Path) -> Content:
    """Read what ``train`` wrote."""
    return Content(folder)
