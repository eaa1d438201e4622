"""The pruned twin in int8 and deflated. Zeros save disk, not time."""

import tempfile
import zlib
from pathlib import Path

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.layers.onnx_export import quantize_dynamic
from vetrina.models.mlp.train import load_pruned, save_network

VARIANTS = (CompressionVariant(("prune 50 %", "int8")),)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes ``network.onnx.z``."""
    with tempfile.TemporaryDirectory() as scratch:
        pruned = Path(scratch) / "pruned.onnx"
        small = Path(scratch) / "int8.onnx"
        save_network(load_pruned(source), pruned)
        quantize_dynamic(pruned, small)
        (into / "network.onnx.z").write_bytes(zlib.compress(small.read_bytes(), level=9))
