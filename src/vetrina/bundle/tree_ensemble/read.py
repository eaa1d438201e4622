"""Tree ensembles in ONNX Runtime: one score for each row of features."""

from pathlib import Path

import numpy as np

from vetrina.bundle.onnx_session import open_session
from vetrina.core.types import Floats


class Trees:
    """The tree ensemble that ``write_tree_ensemble`` wrote."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)

    def score(self, features: Floats) -> Floats:
        """Return scores (n,) float32 of features (n, width)."""
        if not len(features):
            return np.empty(0, np.float32)
        return self._session.run(None, {"features": features})[0][:, 0]
