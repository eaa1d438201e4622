"""Visual similarity of products to a user's last items."""

from functools import cached_property
from pathlib import Path

import numpy as np

from vetrina.core.files import digest_of
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints

NETWORK = "network.onnx"
_MAX_RECENT_ITEMS = 5
_POSITION_DECAY = 0.7  # weight of an item relative to that of the one after it


class ImageVectors:
    """Unit vectors (items, width) of product images, zeros for products without one, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self._network = folder / NETWORK

    @cached_property
    def network(self) -> str:
        """SHA-256 of the network that maps an image into the space of ``vectors``."""
        return digest_of(self._network)

    def score(self, history: History) -> Floats:
        """Similarity (items,) to the decayed sum of the image vectors of the last items, 0 where there is no image."""
        recent_items = history.items[::-1][:_MAX_RECENT_ITEMS]
        if not len(recent_items):
            return np.zeros(len(self.vectors), np.float32)
        recent_vectors = np.asarray(self.vectors[recent_items], np.float32)
        positions = np.arange(len(recent_items), dtype=np.float32)
        weights = np.power(np.float32(_POSITION_DECAY), positions)
        return self.similarity(weights @ recent_vectors)

    def similarity(self, vector: Floats) -> Floats:
        """Cosine (items,) float32 of every product with a vector (width,) of any length, 0 where it is negative."""
        unit_vector = vector / max(float(np.linalg.norm(vector)), 1e-9)
        return np.maximum(self.vectors @ unit_vector, 0.0).astype(np.float32)

    def has_image(self, items: Ints) -> bool:
        """Whether any of the products (n,) has an image."""
        return bool(np.asarray(self.vectors[items]).any())


def load(folder: Path) -> ImageVectors:
    """Opens what ``train`` wrote."""
    return ImageVectors(folder)
