"""int8: the table by row, the encoder's weights by column, and a scoring graph that multiplies in int8."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vetrina.layers.onnx_export import quantize_dynamic


def compress(source: Path, into: Path) -> None:
    """Writes the same names as ``training.fit``, plus ``scales.npy`` and ``score.onnx``."""
    table = np.load(source / "table.npy")
    scales = np.maximum(np.abs(table).max(1), 1e-8) / 127.0
    rows = np.rint(table / scales[:, None]).astype(np.int8)
    np.save(into / "table.npy", rows)
    np.save(into / "scales.npy", scales.astype(np.float32))
    for name in ("rows.npy", "lengths.npy", "settings.json"):
        shutil.copy(source / name, into / name)
    quantize_dynamic(source / "encoder.onnx", into / "encoder.onnx")
    onnx.save(scoring_graph(rows, scales.astype(np.float32)), into / "score.onnx")


def scoring_graph(rows: np.ndarray, scales: np.ndarray) -> onnx.ModelProto:
    """user (1, width) float -> products (1, items) float, the product in int8 with one scale a row of the table."""
    items, width = rows.shape
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(rows.T), "table"),
        numpy_helper.from_array(scales[None], "scales"),
        numpy_helper.from_array(np.zeros((), np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["user"], ["user_q", "user_scale", "user_zero"]),
        helper.make_node("MatMulInteger", ["user_q", "table", "user_zero", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["product"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["product", "scales"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "user_scale"], ["logits"]),
    ]
    user = helper.make_tensor_value_info("user", TensorProto.FLOAT, [1, width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, items])
    graph = helper.make_graph(nodes, "score", [user], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
