"""Products that look like those a user took last."""

from functools import cached_property
from pathlib import Path

import numpy as np

from vetrina.core.files import digest_of
from vetrina.core.protocols import History
from vetrina.core.types import Floats, Ints

REASON = "looks like what you looked at"
NETWORK = "network.onnx"
_MAX_RECENT_ITEMS = 5
_POSITION_DECAY = 0.7


class ImageVectors:
    """Unit vectors (items, width) of pictures, zeros for products without one, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self._network = folder / NETWORK

    @cached_property
    def network(self) -> str:
        """SHA-256 of the network that maps an image into the space of ``vectors``."""
        return digest_of(self._network)

    def score(self, history: History) -> Floats:
        """(items,) float32: likeness to the faded mean of the last products with a picture, 0 where there is none."""
        last = history.items[::-1][:_MAX_RECENT_ITEMS]
        if not len(last):
            return np.zeros(len(self.vectors), np.float32)
        seen = np.asarray(self.vectors[last], np.float32)
        fade = np.power(np.float32(_POSITION_DECAY), np.arange(len(last), dtype=np.float32))
        return self.similarity(fade @ seen)

    def similarity(self, vector: Floats) -> Floats:
        """(items,) float32: cosine of a vector (width,) of any length with every product's, 0 where it is negative."""
        wanted = vector / max(float(np.linalg.norm(vector)), 1e-9)
        return np.maximum(self.vectors @ wanted, 0.0).astype(np.float32)

    def has_image(self, items: Ints) -> bool:
        """Whether any of them has a picture."""
        return bool(np.asarray(self.vectors[items]).any())


def load(folder: Path) -> ImageVectors:
    """Read what ``train`` wrote."""
    return ImageVectors(folder)
