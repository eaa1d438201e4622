"""Encoded rows in, expected labels out."""

from pathlib import Path

from vetrina.core.onnx_session import session
from vetrina.core.tables import Rows
from vetrina.core.types import Floats


class Classifier:
    """One ONNX file."""

    def __init__(self, folder: Path) -> None:
        self._session = session(folder / "network.onnx")

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        return self._both(rows)[0]

    def second(self, rows: Rows) -> Floats:
        """(rows,) the chance that a yes is followed by what it was meant for."""
        return self._both(rows)[1]

    def _both(self, rows: Rows) -> list[Floats]:
        asked = {"dense": rows.dense, "ids": rows.ids}
        known = {i.name for i in self._session.get_inputs()}
        return self._session.run(None, {name: value for name, value in asked.items() if name in known})


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
