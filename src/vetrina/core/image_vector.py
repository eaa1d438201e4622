"""Vector of a product's image and the network that computed it, as the product log keeps them."""

import base64
from dataclasses import dataclass

import numpy as np

from vetrina.core.types import Floats


@dataclass(frozen=True)
class ImageVector:
    """``network`` is the SHA-256 of the ONNX file, ``text`` the vector as float16 in base64, empty where the image cannot be
    read."""

    network: str
    text: str = ""

    @classmethod
    def of(cls, network: str, vector: Floats) -> "ImageVector":
        """Of a unit vector (axes,)."""
        return cls(network, base64.b64encode(vector.astype("<f2").tobytes()).decode())

    @property
    def vector(self) -> Floats:
        """(axes,) float32, no axes at all where the image cannot be read."""
        return np.frombuffer(base64.b64decode(self.text), "<f2").astype(np.float32)
