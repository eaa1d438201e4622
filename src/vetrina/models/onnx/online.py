"""Raw columns in, as the file declares them, expected labels out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.onnx_session import session
from vetrina.core.tables import Rows, Scale
from vetrina.core.types import Floats

FILE, INPUTS, SCALE = "model.onnx", "inputs.json", "scale.json"
_WORDS = "tensor(string)"
_NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
KINDS = (*_NUMBERS, _WORDS)


class Classifier:
    """An ONNX file whose inputs are columns of the table by their names, or one matrix of declared columns.

    It says the chance of a yes: its first output of numbers with a decimal point, (rows,), (rows, 1) or (rows, 2) of no and yes.
    Where the label is a number, it says that number as it stands in the table.
    """

    def __init__(self, folder: Path) -> None:
        self._session = session(folder / FILE)
        declared: list[str] = msgspec.json.decode((folder / INPUTS).read_bytes())
        scale = folder / SCALE
        self._scale = msgspec.json.decode(scale.read_bytes(), type=Scale) if scale.exists() else None
        self._inputs = [(i.name, i.type, i.shape) for i in self._session.get_inputs()]
        self.columns = {name: declared if declared else [name] for name, _, _ in self._inputs}
        self._output = next(
            o.name for o in self._session.get_outputs() if o.type in ("tensor(float)", "tensor(double)")
        )

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table that brings its raw columns along; where the model says no number, 0.5 or the mean."""
        if self._scale is not None:
            return np.nan_to_num(self._scale.units(self.said(rows)), nan=0.0, posinf=0.0, neginf=0.0)
        return np.nan_to_num(np.clip(self.said(rows), 0.0, 1.0), nan=0.5)

    def said(self, rows: Rows) -> Floats:
        """(rows,) as the model says it."""
        asked = {name: _fed(rows.raw, self.columns[name], kind, shape) for name, kind, shape in self._inputs}
        found = np.asarray(self._session.run([self._output], asked)[0], np.float32).reshape(len(rows), -1)
        return found[:, -1]


def _fed(raw: Mapping[str, NDArray[Any]], columns: list[str], kind: str, shape: list[Any]) -> NDArray[Any]:
    """(rows,) or (rows, columns), of the kind that the input wants; a missing number is NaN, -1 where it must be whole."""
    if kind == _WORDS:
        parts = [np.array(["" if v is None else str(v) for v in raw[c].tolist()], dtype=object) for c in columns]
    else:
        wanted = _NUMBERS[kind]
        parts = [_number(raw[c], wanted) for c in columns]
    return np.stack(parts, 1) if len(shape) > 1 else parts[0]


def _number(values: NDArray[Any], wanted: type) -> NDArray[Any]:
    if values.dtype == object:
        raise TypeError("holds words where the model wants numbers")
    whole = np.issubdtype(wanted, np.integer)
    return (np.where(np.isfinite(values), values, -1) if whole else values).astype(wanted)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
