"""Compression of the MLP: pruned weights in int8, deflated. Zeros save disk space, not time."""

import tempfile
import zlib
from pathlib import Path

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.models.mlp.train import load_pruned, save_network
from vetrina.nn.onnx_export import quantize_dynamic

VARIANTS = (CompressionVariant(("prune 50 %", "int8")),)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes ``network.onnx.z``.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: The only one of ``VARIANTS``.
        distillation_data: Not used.
    """
    with tempfile.TemporaryDirectory() as scratch:
        pruned_file = Path(scratch) / "pruned.onnx"
        int8_file = Path(scratch) / "int8.onnx"
        save_network(load_pruned(source), pruned_file)
        quantize_dynamic(pruned_file, int8_file)
        (into / "network.onnx.z").write_bytes(zlib.compress(int8_file.read_bytes(), level=9))
