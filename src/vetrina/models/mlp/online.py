"""Encoded rows in, expected labels out."""

import zlib
from pathlib import Path

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats

HIDDEN_DIMS = (64, 32)


class MLP:
    """One ONNX file: ``network.onnx``, or deflated ``network.onnx.z`` once it is pruned."""

    def __init__(self, folder: Path) -> None:
        packed = folder / "network.onnx.z"
        self._session = open_session(
            zlib.decompress(packed.read_bytes()) if packed.exists() else folder / "network.onnx"
        )

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        return self._session.run(None, {"x": rows.dense})[0].reshape(-1)


def load(folder: Path) -> MLP:
    """Read what ``train`` wrote."""
    return MLP(folder)
