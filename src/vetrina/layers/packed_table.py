"""Writes the tables that ``retrieval.packed_table`` opens, with the graph that multiplies them. Training side only."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vetrina.core.errors import Unfit
from vetrina.core.types import Floats
from vetrina.retrieval import nibbles
from vetrina.retrieval.packed_table import BYTES, GRAPH, SCALES


def write(table: Floats, into: Path, bits: int) -> None:
    """``table`` (rows, width), one row at least. Raises Unfit for one that cannot be written so."""
    if not np.isfinite(table).all():
        raise Unfit("its table holds what is no number")
    if not len(table):
        raise Unfit("its table is empty")
    if bits == 4 and not nibbles.block_of(table.shape[1]):
        raise Unfit(f"a width of {table.shape[1]} is no multiple of {nibbles.BLOCKS[-1]}")
    onnx.save((_four if bits == 4 else _eight)(table, into), into / GRAPH)


def _eight(table: Floats, into: Path) -> onnx.ModelProto:
    """asked (n, width) float -> products (n, rows) float, the product in int8 with one scale a row of the table."""
    scales = (np.maximum(np.abs(table).max(1), 1e-8) / 127.0).astype(np.float32)
    constants = [
        _mapped(np.ascontiguousarray(np.rint(table / scales[:, None]).astype(np.int8).T), into),
        _scales(scales, (1, len(scales)), into),
        numpy_helper.from_array(np.zeros((), np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["asked"], ["asked_q", "asked_scale", "asked_zero"]),
        helper.make_node("MatMulInteger", ["asked_q", "table", "asked_zero", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["product"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["product", "scales"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "asked_scale"], ["products"]),
    ]
    return _graph(nodes, constants, table.shape)


def _four(table: Floats, into: Path) -> onnx.ModelProto:
    """The same by MatMulNBits of ONNX Runtime: two columns a byte, one scale for a block of a row, sums in int8."""
    rows, width = table.shape
    pairs, scales = nibbles.packed(table)
    constants = [_mapped(pairs, into), _scales(scales, (scales.size,), into)]
    node = helper.make_node(
        "MatMulNBits",
        ["asked", "table", "scales"],
        ["products"],
        domain="com.microsoft",
        K=width,
        N=rows,
        bits=4,
        block_size=nibbles.block_of(width),
        accuracy_level=4,
    )
    return _graph([node], constants, table.shape)


def _mapped(values: np.ndarray, into: Path) -> onnx.TensorProto:
    (into / BYTES).write_bytes(values.tobytes())
    return _beside("table", values, values.shape, into / BYTES)


def _scales(values: Floats, shape: tuple[int, ...], into: Path) -> onnx.TensorProto:
    """Those that single rows are read with; behind the header of their file lie the bytes that the graph maps."""
    np.save(into / SCALES, values)
    return _beside("scales", values, shape, into / SCALES)


def _beside(name: str, values: np.ndarray, shape: tuple[int, ...], file: Path) -> onnx.TensorProto:
    """A constant that is the end of a file beside the graph."""
    tensor = onnx.TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    said = {"location": file.name, "offset": file.stat().st_size - values.nbytes, "length": values.nbytes}
    for key, value in said.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _graph(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: tuple[int, ...]) -> onnx.ModelProto:
    rows, width = shape
    asked = helper.make_tensor_value_info("asked", TensorProto.FLOAT, ["asked", width])
    products = helper.make_tensor_value_info("products", TensorProto.FLOAT, ["asked", rows])
    graph = helper.make_graph(nodes, "score", [asked], [products], constants)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)
