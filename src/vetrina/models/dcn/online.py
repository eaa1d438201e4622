"""Encoded rows in, expected labels out."""

from pathlib import Path

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats


class DCN:
    """One ONNX file."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "network.onnx")

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        return self._outputs(rows)[0]

    def predict_secondary(self, rows: EncodedTable) -> Floats:
        """(rows,) the chance that a yes is followed by what it was meant for."""
        return self._outputs(rows)[1]

    def _outputs(self, rows: EncodedTable) -> list[Floats]:
        asked = {"dense": rows.dense, "ids": rows.category_ids}
        known = {i.name for i in self._session.get_inputs()}
        return self._session.run(None, {name: value for name, value in asked.items() if name in known})


def load(folder: Path) -> DCN:
    """Read what ``train`` wrote."""
    return DCN(folder)
