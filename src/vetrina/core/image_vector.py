"""Embedding of a product's image and the network that computed it, as stored in the product log."""

import base64
from dataclasses import dataclass

import numpy as np

from vetrina.core.arrays import Floats


@dataclass(frozen=True)
class ImageVector:
    """An image embedding.

    Attributes:
        network: SHA-256 of the ONNX file of the network.
        text: The vector as float16 in base64; empty if the image cannot be read.
    """

    network: str
    text: str = ""

    @classmethod
    def of(cls, network: str, vector: Floats) -> "ImageVector":
        """The embedding of a unit vector (width,) that ``network`` computed."""
        content = vector.astype("<f2").tobytes()
        return cls(network, base64.b64encode(content).decode())

    @property
    def vector(self) -> Floats:
        """(width,) float32; (0,) if the image cannot be read."""
        content = base64.b64decode(self.text)
        return np.frombuffer(content, "<f2").astype(np.float32)
