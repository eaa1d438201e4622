"""Small forms of a sequence network: the table of products in 8 or 4 bits, the encoder's weights in 8 by column."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.layers import quantised_table_writer
from vetrina.layers.onnx_export import quantize_dynamic


def quantise(source: Path, into: Path, bits: int) -> None:
    """A packed table in place of ``training.fit``'s ``table.npy``. Raises Unfit."""
    quantised_table_writer.write(np.load(source / "table.npy"), into, bits)
    for name in ("taken.npy", "lengths.npy", "settings.json"):
        shutil.copy(source / name, into / name)
    quantize_dynamic(source / "encoder.onnx", into / "encoder.onnx")
