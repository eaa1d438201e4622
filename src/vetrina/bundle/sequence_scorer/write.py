"""Writer of a next-item model without its encoder, which the encoder's own class exports."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.quantised_table.write import write_quantised_table
from vetrina.core.types import Floats

ENCODER_FILE = "encoder.onnx"
_HAS_ROW_FILE = "has_row.npy"
_TABLE_FILE = "table.npy"
_NORMS_FILE = "norms.npy"
_SETTINGS_FILE = "settings.json"
_MIN_NORM = 1e-9


def write_sequence_table(
    has_row: NDArray[np.bool_], vectors: Floats, hyperparameters: Mapping[str, float], into: Path
) -> None:
    """Write the vectors and hyper-parameters of a next-item model.

    Args:
        has_row: (items,) which items have a vector.
        vectors: (rows, width) their vectors, in the order of the items.
        hyperparameters: Those of the model, ``temperature`` and ``length`` among them.
        into: Folder to write to.
    """
    np.save(into / _HAS_ROW_FILE, has_row)
    np.save(into / _TABLE_FILE, vectors)
    np.save(into / _NORMS_FILE, np.maximum(np.linalg.norm(vectors, axis=1), _MIN_NORM))
    (into / _SETTINGS_FILE).write_bytes(msgspec.json.encode(dict(hyperparameters)))


def write_quantised_sequence_table(source: Path, into: Path, bits: int) -> None:
    """Write a copy of what ``write_sequence_table`` wrote with vectors of 4 or 8 bits a number.

    Args:
        source: Folder that ``write_sequence_table`` wrote to.
        into: Folder to write to.
        bits: Bits a number, 4 or 8.

    Raises:
        UnusableVariant: The vectors cannot be quantised.
    """
    write_quantised_table(np.load(source / _TABLE_FILE), into, bits)
    for name in (_HAS_ROW_FILE, _NORMS_FILE, _SETTINGS_FILE):
        shutil.copy(source / name, into / name)
