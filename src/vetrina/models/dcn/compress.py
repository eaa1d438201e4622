"""int8 weights and embeddings."""

from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.layers.onnx_export import quantize_dynamic

FORMS = (Form(("int8",)),)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same names in about a quarter of the bytes."""
    quantize_dynamic(source / "network.onnx", into / "network.onnx")
