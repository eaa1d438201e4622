"""Writes the tables that ``retrieval.quantised_table`` opens, with the graph that multiplies them. Training side only."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats
from vetrina.retrieval import int4
from vetrina.retrieval.quantised_table import GRAPH_FILE, SCALES_FILE, TABLE_FILE


def write(table: Floats, into: Path, bits: int) -> None:
    """``table`` (rows, width), one row at least. Raises Unfit for one that cannot be written so."""
    if not np.isfinite(table).all():
        raise UnusableVariant("its table holds what is no number")
    if not len(table):
        raise UnusableVariant("its table is empty")
    if bits == 4 and not int4.block_size_of(table.shape[1]):
        raise UnusableVariant(f"a width of {table.shape[1]} is no multiple of {int4.BLOCK_SIZES[-1]}")
    onnx.save((_int4_graph if bits == 4 else _int8_graph)(table, into), into / GRAPH_FILE)


def _int8_graph(table: Floats, into: Path) -> onnx.ModelProto:
    """asked (n, width) float -> products (n, rows) float, the product in int8 with one scale a row of the table."""
    scales = (np.maximum(np.abs(table).max(1), 1e-8) / 127.0).astype(np.float32)
    constants = [
        _write_table_bytes(np.ascontiguousarray(np.rint(table / scales[:, None]).astype(np.int8).T), into),
        _write_scales(scales, (1, len(scales)), into),
        numpy_helper.from_array(np.zeros((), np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["asked"], ["asked_q", "asked_scale", "asked_zero"]),
        helper.make_node("MatMulInteger", ["asked_q", "table", "asked_zero", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["product"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["product", "scales"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "asked_scale"], ["products"]),
    ]
    return _onnx_model(nodes, constants, table.shape)


def _int4_graph(table: Floats, into: Path) -> onnx.ModelProto:
    """The same by MatMulNBits of ONNX Runtime: two columns a byte, one scale for a block of a row, sums in int8."""
    rows, width = table.shape
    pairs, scales = int4.quantise(table)
    constants = [_write_table_bytes(pairs, into), _write_scales(scales, (scales.size,), into)]
    node = helper.make_node(
        "MatMulNBits",
        ["asked", "table", "scales"],
        ["products"],
        domain="com.microsoft",
        K=width,
        N=rows,
        bits=4,
        block_size=int4.block_size_of(width),
        accuracy_level=4,
    )
    return _onnx_model([node], constants, table.shape)


def _write_table_bytes(values: np.ndarray, into: Path) -> onnx.TensorProto:
    (into / TABLE_FILE).write_bytes(values.tobytes())
    return _external_tensor("table", values, values.shape, into / TABLE_FILE)


def _write_scales(values: Floats, shape: tuple[int, ...], into: Path) -> onnx.TensorProto:
    """Those that single rows are read with; behind the header of their file lie the bytes that the graph maps."""
    np.save(into / SCALES_FILE, values)
    return _external_tensor("scales", values, shape, into / SCALES_FILE)


def _external_tensor(name: str, values: np.ndarray, shape: tuple[int, ...], file: Path) -> onnx.TensorProto:
    """A constant that is the end of a file beside the graph."""
    tensor = onnx.TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    said = {"location": file.name, "offset": file.stat().st_size - values.nbytes, "length": values.nbytes}
    for key, value in said.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _onnx_model(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: tuple[int, ...]
) -> onnx.ModelProto:
    rows, width = shape
    asked = helper.make_tensor_value_info("asked", TensorProto.FLOAT, ["asked", width])
    products = helper.make_tensor_value_info("products", TensorProto.FLOAT, ["asked", rows])
    graph = helper.make_graph(nodes, "score", [asked], [products], constants)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)
