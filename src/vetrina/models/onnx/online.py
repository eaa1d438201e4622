"""Prediction by an external model (ONNX file of the shop), from raw columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.core.labelled_tables import EncodedTable, LabelScaler

MODEL_FILE = "model.onnx"
INPUTS_FILE = "inputs.json"
SCALER_FILE = "scale.json"
_STRING_TYPE = "tensor(string)"
_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
INPUT_TYPES = (*_NUMPY_TYPES, _STRING_TYPE)
_OUTPUT_TYPES = ("tensor(float)", "tensor(double)")
_MISSING_INTEGER = -1


class ExternalModel:
    """An ONNX file whose inputs are columns of the table by their names, or one matrix of declared columns.

    Its first floating-point output is the probability of a positive label: (rows,), (rows, 1), or (rows, 2) of both
    classes. Where the label is a number, it is that number in the table's units.

    Raises:
        LookupError: The file has no floating-point output.
    """

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / MODEL_FILE)
        declared: list[str] = msgspec.json.decode((folder / INPUTS_FILE).read_bytes())
        self._label_scaler = None
        scaler_file = folder / SCALER_FILE
        if scaler_file.exists():
            self._label_scaler = msgspec.json.decode(scaler_file.read_bytes(), type=LabelScaler)
        self._inputs = [(node.name, node.type, node.shape) for node in self._session.get_inputs()]
        self.input_columns = {name: declared or [name] for name, _, _ in self._inputs}
        outputs = [node.name for node in self._session.get_outputs() if node.type in _OUTPUT_TYPES]
        if not outputs:
            raise LookupError("no floating-point output")
        self._output = outputs[0]

    @property
    def input_types(self) -> dict[str, str]:
        """ONNX type of each input by name."""
        return {name: onnx_type for name, onnx_type, _ in self._inputs}

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,) of a table with its raw columns; NaN becomes 0.5, or the mean of a numeric label."""
        predictions = self.raw_predictions(rows)
        if self._label_scaler is None:
            return np.nan_to_num(np.clip(predictions, 0.0, 1.0), nan=0.5)
        return np.nan_to_num(self._label_scaler.transform(predictions), nan=0.0, posinf=0.0, neginf=0.0)

    def raw_predictions(self, rows: EncodedTable) -> Floats:
        """The model's output (rows,) as it is."""
        inputs = {}
        for name, onnx_type, shape in self._inputs:
            inputs[name] = _input_array(rows.raw_columns, self.input_columns[name], onnx_type, shape)
        output = self._session.run([self._output], inputs)[0]
        return np.asarray(output, np.float32).reshape(len(rows), -1)[:, -1]


def _input_array(
    raw_columns: Mapping[str, NDArray[Any]], names: list[str], onnx_type: str, shape: list[Any]
) -> NDArray[Any]:
    """An input (rows,) or (rows, columns) of the type that the model declares."""
    if onnx_type == _STRING_TYPE:
        columns = [_string_column(raw_columns[name]) for name in names]
    else:
        dtype = _NUMPY_TYPES[onnx_type]
        columns = [_numeric_column(raw_columns[name], dtype) for name in names]
    if len(shape) > 1:
        return np.stack(columns, 1)
    return columns[0]


def _string_column(values: NDArray[Any]) -> NDArray[Any]:
    """Strings (rows,); a missing value is empty."""
    strings = ["" if value is None else str(value) for value in values.tolist()]
    return np.array(strings, dtype=object)


def _numeric_column(values: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Numbers (rows,); a missing one is NaN, or -1 for an integer input."""
    if values.dtype == object:
        raise TypeError("holds words where the model wants numbers")
    if np.issubdtype(dtype, np.integer):
        values = np.where(np.isfinite(values), values, _MISSING_INTEGER)
    return values.astype(dtype)


def load(folder: Path) -> ExternalModel:
    """Opens what ``train`` wrote."""
    return ExternalModel(folder)
