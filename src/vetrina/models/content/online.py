"""Users ranked by the similarity of their most similar taken item to the product."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import COLUMNS
from vetrina.features.similarity import SIMILARITY_FEATURES

INT8_SCALE = np.float32(127.0)  # the int8 value of 1
_NEAREST_COLUMN = len(COLUMNS) + SIMILARITY_FEATURES.index("similarity: nearest")


class Content:
    """Content vectors (items, width) of the catalogue."""

    def __init__(self, folder: Path) -> None:
        int8_vectors = np.load(folder / "vectors.npy")
        self.vectors: Floats = int8_vectors.astype(np.float32) / INT8_SCALE

    def score(self, features: Floats) -> Floats:
        """Scores (users,) for features (users, affinities and similarities to one product)."""
        return features[:, _NEAREST_COLUMN]

    def mean_vector(self, items: Ints) -> Floats:
        """The mean of some products' vectors (width,) scaled to length 1, zeros for no products."""
        total = np.zeros(self.vectors.shape[1], np.float32)
        if len(items):
            total = self.vectors[items].sum(axis=0)
        return total / max(float(np.linalg.norm(total)), 1e-9)


def load(folder: Path) -> Content:
    """Opens what ``train`` wrote."""
    return Content(folder)
