"""Writer of a next-item model without its encoder, which the encoder's own class exports."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats

ENCODER_FILE = "encoder.onnx"
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
    np.save(into / "has_row.npy", has_row)
    np.save(into / "table.npy", vectors)
    np.save(into / "norms.npy", np.maximum(np.linalg.norm(vectors, axis=1), _MIN_NORM))
    (into / "settings.json").write_bytes(msgspec.json.encode(dict(hyperparameters)))
