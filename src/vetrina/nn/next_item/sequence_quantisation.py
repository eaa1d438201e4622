"""Quantisation of sequence models: item table in 8 or 4 bits, encoder weights in int8."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.bundle.quantised_table import write as quantised_table_writer
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.nn.onnx_export import quantize_dynamic

_INT8 = CompressionVariant(("int8",))
_INT4 = CompressionVariant(("int4",))
VARIANTS = (_INT8, _INT4)
_COPIED_FILES = ("taken.npy", "lengths.npy", "settings.json")


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Write the same files in about an eighth or a quarter of the bytes.

    Args:
        source: Folder that the training wrote to.
        into: Folder to write to.
        variant: One of ``VARIANTS``.
        distillation_data: Not used.

    Raises:
        UnusableVariant: The item table cannot be quantised.
    """
    bits = 8
    if variant == _INT4:
        bits = 4
    quantised_table_writer.write(np.load(source / "table.npy"), into, bits)
    for name in _COPIED_FILES:
        shutil.copy(source / name, into / name)
    quantize_dynamic(source / "encoder.onnx", into / "encoder.onnx")
