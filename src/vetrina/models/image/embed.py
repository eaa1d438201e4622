"""Image embedding with a version's own network, in ONNX Runtime: no training library."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.models.image.decode import Pixels, normalised

_BATCH_SIZE = 8  # images, to bound memory


class Embedder:
    """The image network of one version, opened once. ``size`` is the side of its input image in pixels."""

    def __init__(self, network: Path) -> None:
        self._session = open_session(network)
        self.size = int(self._session.get_inputs()[0].shape[2])

    def vectors(self, images: Sequence[Pixels]) -> Floats:
        """Unit vectors (n, axes) of one or more decoded images (size, size, 3).

        They are in the space of the version's ``vectors.npy``. Each is the mean over an image and its mirror image,
        as in training.
        """
        blocks = []
        for start in range(0, len(images), _BATCH_SIZE):
            blocks.append(self._batch_vectors(images[start : start + _BATCH_SIZE]))
        return np.concatenate(blocks)

    def _batch_vectors(self, images: Sequence[Pixels]) -> Floats:
        batch = normalised(images)
        mirrored = batch[..., ::-1]
        total = self._run(batch) + self._run(mirrored)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return total / np.maximum(length, 1e-9)

    def _run(self, batch: Floats) -> Floats:
        return self._session.run(["vector"], {"picture": np.ascontiguousarray(batch)})[0]
