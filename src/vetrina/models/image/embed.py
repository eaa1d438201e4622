"""Image embedding with a version's own network, in ONNX Runtime: no training library."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats
from vetrina.models.image.decode import Pixels, normalised

_AT_ONCE = 8  # images, to bound memory


class Embedder:
    """The image network of one version, opened once. ``size`` is what its input says: the side of an image in pixels."""

    def __init__(self, network: Path) -> None:
        self._session = open_session(network)
        self.size = int(self._session.get_inputs()[0].shape[2])

    def vectors(self, images: Sequence[Pixels]) -> Floats:
        """(n, axes) unit vectors of one decoded image (size, size, 3) or more, in the space of the version's ``vectors.npy``.

        Each is the mean over an image and its mirror image, as training takes it.
        """
        found = [self._vectors(images[at : at + _AT_ONCE]) for at in range(0, len(images), _AT_ONCE)]
        return np.concatenate(found)

    def _vectors(self, images: Sequence[Pixels]) -> Floats:
        shown = normalised(images)
        total = self._output(shown) + self._output(shown[..., ::-1])
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return total / np.maximum(length, 1e-9)

    def _output(self, shown: Floats) -> Floats:
        return self._session.run(["vector"], {"picture": np.ascontiguousarray(shown)})[0]
