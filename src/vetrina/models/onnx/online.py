"""Raw columns in, as the file declares them, expected labels out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import EncodedTable, LabelScaler
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats

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


class ExternalModel:
    """An ONNX file whose inputs are columns of the table by their names, or one matrix of declared columns.

    It says the chance of a yes: its first output of numbers with a decimal point, (rows,), (rows, 1) or (rows, 2) of no and yes.
    Where the label is a number, it says that number as it stands in the table.
    """

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / MODEL_FILE)
        declared: list[str] = msgspec.json.decode((folder / INPUTS_FILE).read_bytes())
        scale = folder / SCALER_FILE
        self._label_scaler = msgspec.json.decode(scale.read_bytes(), type=LabelScaler) if scale.exists() else None
        self._inputs = [(i.name, i.type, i.shape) for i in self._session.get_inputs()]
        self.input_columns = {name: declared if declared else [name] for name, _, _ in self._inputs}
        self._output = next(
            o.name for o in self._session.get_outputs() if o.type in ("tensor(float)", "tensor(double)")
        )

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table that brings its raw columns along; where the model says no number, 0.5 or the mean."""
        if self._label_scaler is not None:
            return np.nan_to_num(
                self._label_scaler.transform(self.raw_predictions(rows)), nan=0.0, posinf=0.0, neginf=0.0
            )
        return np.nan_to_num(np.clip(self.raw_predictions(rows), 0.0, 1.0), nan=0.5)

    def raw_predictions(self, rows: EncodedTable) -> Floats:
        """(rows,) as the model says it."""
        asked = {
            name: _input_array(rows.raw_columns, self.input_columns[name], kind, shape)
            for name, kind, shape in self._inputs
        }
        found = np.asarray(self._session.run([self._output], asked)[0], np.float32).reshape(len(rows), -1)
        return found[:, -1]


def _input_array(raw: Mapping[str, NDArray[Any]], columns: list[str], kind: str, shape: list[Any]) -> NDArray[Any]:
    """(rows,) or (rows, columns), of the kind that the input wants; a missing number is NaN, -1 where it must be whole."""
    if kind == _STRING_TYPE:
        parts = [np.array(["" if v is None else str(v) for v in raw[c].tolist()], dtype=object) for c in columns]
    else:
        wanted = _NUMPY_TYPES[kind]
        parts = [_numeric_column(raw[c], wanted) for c in columns]
    return np.stack(parts, 1) if len(shape) > 1 else parts[0]


def _numeric_column(values: NDArray[Any], wanted: type) -> NDArray[Any]:
    if values.dtype == object:
        raise TypeError("holds words where the model wants numbers")
    whole = np.issubdtype(wanted, np.integer)
    return (np.where(np.isfinite(values), values, -1) if whole else values).astype(wanted)


def load(folder: Path) -> ExternalModel:
    """Read what ``train`` wrote."""
    return ExternalModel(folder)
