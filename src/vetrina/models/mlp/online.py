"""Encoded rows in, expected labels out."""

import zlib
from pathlib import Path

from vetrina.core.onnx_session import session
from vetrina.core.tables import Rows
from vetrina.core.types import Floats

SIZES = (64, 32)


class Classifier:
    """One ONNX file: ``network.onnx``, or deflated ``network.onnx.z`` once it is pruned."""

    def __init__(self, folder: Path) -> None:
        packed = folder / "network.onnx.z"
        self._session = session(zlib.decompress(packed.read_bytes()) if packed.exists() else folder / "network.onnx")

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        return self._session.run(None, {"x": rows.dense})[0].reshape(-1)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
