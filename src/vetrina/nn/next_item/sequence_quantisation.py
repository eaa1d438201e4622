"""Quantisation of sequence models: item table in 8 or 4 bits, encoder weights in int8."""

from pathlib import Path

from vetrina.bundle.sequence_scorer.write import ENCODER_FILE, write_quantised_sequence_table
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.nn.onnx_export import quantize_dynamic

_INT8 = CompressionVariant(("int8",))
_INT4 = CompressionVariant(("int4",))
VARIANTS = (_INT8, _INT4)


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
    write_quantised_sequence_table(source, into, bits)
    quantize_dynamic(source / ENCODER_FILE, into / ENCODER_FILE)
