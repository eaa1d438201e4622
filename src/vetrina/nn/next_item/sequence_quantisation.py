"""Quantisation of sequence models: item table in 8 or 4 bits, encoder weights in int8."""

from pathlib import Path

from vetrina.bundle.sequence_scorer.write import ENCODER_FILE, write_quantised_sequence_table
from vetrina.nn.onnx_export import quantize_dynamic


def quantise(source: Path, into: Path, bits: int) -> None:
    """Write a quantised form of what ``training.fit`` wrote.

    Args:
        source: Folder that ``training.fit`` wrote to.
        into: Folder to write to.
        bits: Bits a number of the item table, 4 or 8.

    Raises:
        UnusableVariant: The item table cannot be quantised.
    """
    write_quantised_sequence_table(source, into, bits)
    quantize_dynamic(source / ENCODER_FILE, into / ENCODER_FILE)
