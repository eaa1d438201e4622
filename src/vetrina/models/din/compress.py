"""Compression of DIN: int8 weights and embeddings."""

import shutil
from pathlib import Path

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.nn.onnx_export import quantize_dynamic

VARIANTS = (CompressionVariant(("int8",)),)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes ``network.onnx`` in about a quarter of the bytes, and a copy of the vocabularies.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: The only one of ``VARIANTS``.
        distillation_data: Not used.
    """
    quantize_dynamic(source / "network.onnx", into / "network.onnx")
    shutil.copy(source / "vocabularies.npz", into / "vocabularies.npz")
