"""Small forms of a sequence network: the table of products in 8 or 4 bits by row, the encoder's weights in 8 by column.

One file holds the table. The graph that multiplies it with a user's vector maps it as external data, and ``retrieval.next_item``
reads single rows of the same bytes.
"""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vetrina.core.errors import Unfit
from vetrina.layers.onnx_export import quantize_dynamic
from vetrina.retrieval import nibbles
from vetrina.retrieval.next_item import TABLE


def compress(source: Path, into: Path, bits: int) -> None:
    """Writes ``table.bin``, ``scales.npy`` and ``score.onnx`` in place of ``training.fit``'s ``table.npy``. Raises Unfit."""
    table = np.load(source / "table.npy")
    settings = msgspec.json.decode((source / "settings.json").read_bytes())
    if not np.isfinite(table).all():
        raise Unfit("its table holds what is no number")
    if bits == 4 and not nibbles.block_of(table.shape[1]):
        raise Unfit(f"a width of {table.shape[1]} is no multiple of {nibbles.BLOCKS[-1]}")
    onnx.save((_four if bits == 4 else _eight)(table, into), into / "score.onnx")
    for name in ("rows.npy", "lengths.npy"):
        shutil.copy(source / name, into / name)
    (into / "settings.json").write_bytes(msgspec.json.encode({**settings, "bits": bits}))
    quantize_dynamic(source / "encoder.onnx", into / "encoder.onnx")


def _eight(table: NDArray[np.float32], into: Path) -> onnx.ModelProto:
    """user (1, width) float -> products (1, items) float, the product in int8 with one scale a row of the table."""
    scales = (np.maximum(np.abs(table).max(1), 1e-8) / 127.0).astype(np.float32)
    rows = np.rint(table / scales[:, None]).astype(np.int8)
    np.save(into / "scales.npy", scales)
    constants = [
        _mapped(np.ascontiguousarray(rows.T), TensorProto.INT8, "table", into),
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
    return _graph(nodes, constants, table.shape)


def _four(table: NDArray[np.float32], into: Path) -> onnx.ModelProto:
    """The same by MatMulNBits of ONNX Runtime: two columns a byte, one scale for a block of a row, sums in int8."""
    items, width = table.shape
    pairs, scales = nibbles.packed(table)
    np.save(into / "scales.npy", scales)
    constants = [
        _mapped(pairs, TensorProto.UINT8, "table", into),
        numpy_helper.from_array(scales.ravel(), "scales"),
    ]
    node = helper.make_node(
        "MatMulNBits",
        ["user", "table", "scales"],
        ["logits"],
        domain="com.microsoft",
        K=width,
        N=items,
        bits=4,
        block_size=nibbles.block_of(width),
        accuracy_level=4,
    )
    return _graph([node], constants, table.shape)


def _mapped(values: NDArray[np.generic], kind: int, name: str, into: Path) -> onnx.TensorProto:
    """A constant whose bytes lie in TABLE beside the graph."""
    (into / TABLE).write_bytes(values.tobytes())
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=values.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=TABLE)
    tensor.external_data.add(key="length", value=str(values.nbytes))
    return tensor


def _graph(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: tuple[int, ...]) -> onnx.ModelProto:
    items, width = shape
    user = helper.make_tensor_value_info("user", TensorProto.FLOAT, [1, width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, items])
    graph = helper.make_graph(nodes, "score", [user], [logits], constants)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)
