"""The pruned twin in int8 and deflated. Zeros save disk, not time."""

import tempfile
import zlib
from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.layers.onnx_export import quantize_dynamic
from vetrina.models.mlp.train import load, save_network

FORMS = (Form(("prune 50 %", "int8")),)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """Writes ``network.onnx.z``."""
    with tempfile.TemporaryDirectory() as scratch:
        pruned, small = Path(scratch) / "pruned.onnx", Path(scratch) / "int8.onnx"
        save_network(load(source), pruned)
        quantize_dynamic(pruned, small)
        (into / "network.onnx.z").write_bytes(zlib.compress(small.read_bytes(), level=9))
