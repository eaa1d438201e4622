"""ONNX Runtime sessions on the CPU."""

from pathlib import Path
from typing import Any

import onnxruntime


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU, for a file or its bytes; idle threads do not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.enable_cpu_mem_arena = False  # the arena never shrinks after a large batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
