"""Writer of quantised tables with their ONNX graph."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vetrina.bundle.quantised_table import int4
from vetrina.bundle.quantised_table.read import GRAPH_FILE, SCALES_FILE, TABLE_FILE
from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats


def write_quantised_table(table: Floats, into: Path, bits: int) -> None:
    """Write a quantised table and its graph.

    Args:
        table: (rows, width) vectors, at least one.
        into: Folder to write to.
        bits: 4 or 8 bits a number.

    Raises:
        UnusableVariant: The table is empty or not finite, or no block of columns divides its width.
    """
    if not np.isfinite(table).all():
        raise UnusableVariant("its table is not finite")
    if not len(table):
        raise UnusableVariant("its table is empty")
    width = table.shape[1]
    if bits == 4 and not int4.block_size_of(width):
        raise UnusableVariant(f"a width of {width} is no multiple of {int4.BLOCK_SIZES[-1]}")
    build_graph = _int8_graph
    if bits == 4:
        build_graph = _int4_graph
    onnx.save(build_graph(table, into), into / GRAPH_FILE)


def _int8_graph(table: Floats, into: Path) -> onnx.ModelProto:
    """Query vectors (n, width) float to inner products (n, rows) float, multiplied in int8 with one scale a row of the table."""
    scales = (np.maximum(np.abs(table).max(1), 1e-8) / 127.0).astype(np.float32)
    quantised = np.rint(table / scales[:, None]).astype(np.int8)
    constants = [
        _write_table_bytes(np.ascontiguousarray(quantised.T), into),
        _write_scales(scales, (1, len(scales)), into),
        numpy_helper.from_array(np.zeros((), np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["queries"], ["queries_q", "queries_scale", "queries_zero"]),
        helper.make_node("MatMulInteger", ["queries_q", "table", "queries_zero", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["product"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["product", "scales"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "queries_scale"], ["products"]),
    ]
    return _onnx_model(nodes, constants, table.shape)


def _int4_graph(table: Floats, into: Path) -> onnx.ModelProto:
    """As ``_int8_graph``: two columns a byte, one scale a block of a row, sums in int8."""
    packed, scales = int4.quantise(table)
    constants = [_write_table_bytes(packed, into), _write_scales(scales, (scales.size,), into)]
    node = int4_product_node("queries", "table", "scales", "products", table.shape)
    return _onnx_model([node], constants, table.shape)


def int4_product_node(queries: str, table: str, scales: str, products: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    """Return the ONNX node that multiplies query vectors with all rows of an int4 table: MatMulNBits of ONNX Runtime.

    Args:
        queries: Name of the input (n, width) float.
        table: Name of the table (rows, blocks, block / 2), packed by ``int4.quantise``.
        scales: Name of its scales (rows * blocks,).
        products: Name of the output (n, rows).
        shape: Number of rows, and their width.
    """
    rows, width = shape
    return helper.make_node(
        "MatMulNBits",
        [queries, table, scales],
        [products],
        domain="com.microsoft",
        K=width,
        N=rows,
        bits=4,
        block_size=int4.block_size_of(width),
        accuracy_level=4,
    )


def _write_table_bytes(values: np.ndarray, into: Path) -> onnx.TensorProto:
    (into / TABLE_FILE).write_bytes(values.tobytes())
    return _external_tensor("table", values, values.shape, into / TABLE_FILE)


def _write_scales(values: Floats, shape: tuple[int, ...], into: Path) -> onnx.TensorProto:
    """Write the scales; the reader opens the file for single rows, the graph maps the bytes after its header."""
    np.save(into / SCALES_FILE, values)
    return _external_tensor("scales", values, shape, into / SCALES_FILE)


def _external_tensor(name: str, values: np.ndarray, shape: tuple[int, ...], file: Path) -> onnx.TensorProto:
    """A constant of the graph whose bytes are the last ones of another file.

    Args:
        name: Name of the constant in the graph.
        values: Its values.
        shape: Its shape.
        file: The file, in the folder of the graph.
    """
    tensor = onnx.TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    location = {"location": file.name, "offset": file.stat().st_size - values.nbytes, "length": values.nbytes}
    for key, value in location.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _onnx_model(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: tuple[int, ...]
) -> onnx.ModelProto:
    rows, width = shape
    queries = helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["queries", width])
    products = helper.make_tensor_value_info("products", TensorProto.FLOAT, ["queries", rows])
    graph = helper.make_graph(nodes, "score", [queries], [products], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
