"""Prediction by the MLP in ONNX Runtime."""

import zlib
from pathlib import Path

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable

HIDDEN_DIMS = (64, 32)


class MLP:
    """One ONNX file: ``network.onnx``, or deflated ``network.onnx.z`` once it is compressed."""

    def __init__(self, folder: Path) -> None:
        deflated_file = folder / "network.onnx.z"
        if deflated_file.exists():
            self._session = open_session(zlib.decompress(deflated_file.read_bytes()))
        else:
            self._session = open_session(folder / "network.onnx")

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,) of an encoded table."""
        return self._session.run(None, {"x": rows.dense})[0].reshape(-1)


def load(folder: Path) -> MLP:
    """Opens what ``train`` or ``compress`` wrote."""
    return MLP(folder)
