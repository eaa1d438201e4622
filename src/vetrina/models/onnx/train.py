"""Takes an ONNX file as it is: nothing is learnt here, but what it cannot answer is found out before the gate."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core.errors import BadInput
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.metrics.classification import log_loss
from vetrina.metrics.regression import squared_error
from vetrina.models.onnx.online import INPUT_TYPES, INPUTS_FILE, MODEL_FILE, SCALER_FILE, ExternalModel

_WAY_OUT = "docs/how-to/foreign-model.md says what a file must have"


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``model.onnx`` and ``inputs.json``. Needs ``past.rows`` with raw columns. Raises BadInput for a file that does not
    open, wants columns that the table has not, or says no numbers."""
    if training_data.encoded_table is None or not plan.foreign:
        raise ValueError("onnx needs an encoded table and a file")
    rows = training_data.encoded_table
    file = plan.foreign
    shutil.copy(file, into / MODEL_FILE)
    (into / INPUTS_FILE).write_bytes(msgspec.json.encode(plan.foreign_inputs))
    if rows.label_scaler is not None:
        (into / SCALER_FILE).write_bytes(msgspec.json.encode(rows.label_scaler))
    try:
        opened = ExternalModel(into)
        kinds = {i.name: i.type for i in opened._session.get_inputs()}
    except StopIteration:
        raise BadInput(file, "has no output of numbers", _WAY_OUT) from None
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises what it likes for an unknown operator or a broken file
        raise BadInput(file, f"does not open in ONNX Runtime ({_first_line(error)})", _WAY_OUT) from None
    if wrong := next((kind for kind in kinds.values() if kind not in INPUT_TYPES), None):
        raise BadInput(file, f"has an input of kind {wrong}", f"use one of {', '.join(INPUT_TYPES)}")
    missing = sorted({c for columns in opened.input_columns.values() for c in columns} - set(rows.raw_columns))
    if missing:
        has = ", ".join(sorted(rows.raw_columns)[:12])
        raise BadInput(f"{file}: input {missing[0]!r}", "is no column of the table", f"it has {has}")
    try:
        said = opened.raw_predictions(rows)
    except Exception as error:  # noqa: BLE001 - as above
        raise BadInput(file, f"does not answer the table's rows ({_first_line(error)})", _WAY_OUT) from None
    if not np.isfinite(said).all():
        raise BadInput(file, "answers rows with something that is no number", "impute missing values inside the model")
    lost = log_loss if rows.label_scaler is None else squared_error
    return {"loss": float(lost(rows.label, ExternalModel(into).predict(rows)).mean()), "inputs": kinds}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
