"""Click and conversion probabilities by DCN in ONNX Runtime."""

from pathlib import Path

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable


class DCN:
    """The ensemble in one ONNX file."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "network.onnx")

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,): a probability, or a number in standard units."""
        return self._outputs(rows)[0]

    def predict_secondary(self, rows: EncodedTable) -> Floats:
        """Probability (rows,) of the secondary label, such as a conversion, given the first."""
        return self._outputs(rows)[1]

    def _outputs(self, rows: EncodedTable) -> list[Floats]:
        # The exporter drops an input that has no columns.
        input_names = {declared.name for declared in self._session.get_inputs()}
        inputs = {"dense": rows.dense, "ids": rows.category_ids}
        return self._session.run(None, {name: values for name, values in inputs.items() if name in input_names})


def load(folder: Path) -> DCN:
    """Opens what ``train`` or ``compress`` wrote."""
    return DCN(folder)
