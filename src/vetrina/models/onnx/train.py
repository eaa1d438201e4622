"""Import and validation of an external ONNX model; nothing is trained.

The file is copied as it is. What it cannot do is reported here, before the gate.
"""

import shutil
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.errors import BadInput
from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.models.onnx.online import INPUT_TYPES, INPUTS_FILE, MODEL_FILE, SCALER_FILE, ExternalModel

_WAY_OUT = "docs/how-to/foreign-model.md says what a file must have"
_MAX_LISTED_COLUMNS = 12
_MAX_REASON_CHARACTERS = 200


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``model.onnx`` and ``inputs.json``.

    Args:
        training_data: Needs the encoded table with its raw columns.
        plan: ``foreign`` is the file, ``foreign_inputs`` the columns of its one matrix, if it has one.
        into: The output folder.
        progress: Not used.

    Returns:
        Report: the loss on the table, and the type of each input.

    Raises:
        BadInput: The file does not open, wants columns that the table does not have, or does not return numbers.
    """
    if training_data.encoded_table is None or not plan.foreign:
        raise ValueError("onnx needs an encoded table and a file")
    rows = training_data.encoded_table
    file = plan.foreign
    shutil.copy(file, into / MODEL_FILE)
    (into / INPUTS_FILE).write_bytes(msgspec.json.encode(plan.foreign_inputs))
    if rows.label_scaler is not None:
        (into / SCALER_FILE).write_bytes(msgspec.json.encode(rows.label_scaler))
    model = _open_model(file, into)
    _check_inputs(file, model, rows)
    predictions = _raw_predictions(file, model, rows)
    if not np.isfinite(predictions).all():
        raise BadInput(
            file, "returns values that are not finite for some rows", "impute missing values inside the model"
        )
    loss_function = log_loss if rows.label_scaler is None else squared_error
    loss = loss_function(rows.label, ExternalModel(into).predict(rows)).mean()
    return TrainNotes(report={"loss": float(loss), "inputs": model.input_types})


def _open_model(file: str, folder: Path) -> ExternalModel:
    try:
        return ExternalModel(folder)
    except LookupError:
        raise BadInput(file, "has no output of numbers", _WAY_OUT) from None
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises what it likes for an unknown operator or a broken file
        raise BadInput(file, f"does not open in ONNX Runtime ({_first_line(error)})", _WAY_OUT) from None


def _check_inputs(file: str, model: ExternalModel, rows: EncodedTable) -> None:
    """Raises BadInput for an input of an unknown type, or a column that the table does not have."""
    for onnx_type in model.input_types.values():
        if onnx_type not in INPUT_TYPES:
            raise BadInput(file, f"has an input of type {onnx_type}", f"use one of {', '.join(INPUT_TYPES)}")
    wanted_columns = set().union(*model.input_columns.values())
    missing = sorted(wanted_columns - set(rows.raw_columns))
    if missing:
        columns = ", ".join(sorted(rows.raw_columns)[:_MAX_LISTED_COLUMNS])
        raise BadInput(f"{file}: input {missing[0]!r}", "is no column of the table", f"it has {columns}")


def _raw_predictions(file: str, model: ExternalModel, rows: EncodedTable) -> Floats:
    try:
        return model.raw_predictions(rows)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises what it likes for inputs that do not fit
        raise BadInput(file, f"does not answer the table's rows ({_first_line(error)})", _WAY_OUT) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:_MAX_REASON_CHARACTERS]
