"""One way to open an ONNX file: one thread, no spinning, the processor at hand."""

from pathlib import Path
from typing import Any

import onnxruntime


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU, of a file or of its bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch ever seen
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
