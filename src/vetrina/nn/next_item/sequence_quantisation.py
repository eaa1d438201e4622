"""Quantisation of sequence models: item table in 8 or 4 bits, encoder weights in int8."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.bundle.quantised_table.write import write_quantised_table
from vetrina.nn.onnx_export import quantize_dynamic

_COPIED_FILES = ("has_row.npy", "norms.npy", "settings.json")


def quantise(source: Path, into: Path, bits: int) -> None:
    """Write a quantised form of what ``training.fit`` wrote.

    Args:
        source: Folder that ``training.fit`` wrote to.
        into: Folder to write to.
        bits: Bits a number of the item table, 4 or 8.

    Raises:
        UnusableVariant: The item table cannot be quantised.
    """
    write_quantised_table(np.load(source / "table.npy"), into, bits)
    for name in _COPIED_FILES:
        shutil.copy(source / name, into / name)
    quantize_dynamic(source / "encoder.onnx", into / "encoder.onnx")
