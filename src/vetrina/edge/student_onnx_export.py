"""ONNX export of student networks with float, int8 or int4 tables.

A file computes ``scores`` (1, items) from ``items`` and ``gaps`` (or ``facts``) of one request. The item tables at both ends are
written by hand in few bits; torch exports the encoder between them.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from vetrina.bundle.quantised_table import int4
from vetrina.bundle.quantised_table.write import int4_product_node
from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats
from vetrina.edge.repeat_student import RepeatStudent
from vetrina.edge.sequence_student import SequenceStudent
from vetrina.nn.onnx_export import export

_MAX_UINT16_ITEMS = 65_536  # items that 16 bits can number
_EXAMPLE_LENGTH = 5  # items of the request that the exporter traces
GraphPart = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def write(student: SequenceStudent | RepeatStudent, path: Path, bits: int) -> None:
    """Write a student as one ONNX file.

    Args:
        student: The trained student.
        path: File to write.
        bits: Bits a number of the item tables: 4, 8, or 32 for float.

    Raises:
        UnusableVariant: The weights are not finite, or no block of columns divides the width for 4 bits.
    """
    output_vectors = student.output_layer.weight.detach().numpy()
    bias = student.output_layer.bias.detach().numpy()
    width = output_vectors.shape[1]
    if not all(torch.isfinite(weight).all() for weight in student.parameters()):
        raise UnusableVariant("its weights are not finite")
    if bits == 4 and not int4.block_size_of(width):
        raise UnusableVariant(f"a width of {width} is no multiple of {int4.BLOCK_SIZES[-1]}")
    tables = {"asked": student.input_embedding.weight}
    if isinstance(student, RepeatStudent):
        tables["own"] = student.repeat_embedding.weight
        n_features = student.mean.numel()  # pyright: ignore[reportCallIssue]
        encoder = _export_encoder(_RepeatEncoder(student), tables, n_features)
        boosts = _boost_own_items()
    else:
        encoder = _export_encoder(_SequenceEncoder(student), tables, 0)
        boosts = _boost_neighbours(student, bits)
    parts = [_clamp_padding()]
    for name, table in tables.items():
        parts.append(_LOOKUPS[bits](name, table.detach().numpy()))
    parts.append((list(encoder.graph.node), list(encoder.graph.initializer)))
    parts.append(_MULTIPLICATIONS[bits](output_vectors))
    parts.append(_add_bias(bias))
    parts.append(boosts)
    inputs = [value for value in encoder.graph.input if value.name in student.INPUTS]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(output_vectors)])
    nodes = [node for part_nodes, _ in parts for node in part_nodes]
    constants = [constant for _, part_constants in parts for constant in part_constants]
    graph = helper.make_graph(nodes, "student", inputs, [scores], constants)
    opset = max(opset.version for opset in encoder.opset_import if not opset.domain)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def _clamp_padding() -> GraphPart:
    """Rows of the items in the tables: padding, -1, looks up row 0, and the encoder masks it."""
    zero = numpy_helper.from_array(np.zeros(1, np.int64), "none")
    return [helper.make_node("Max", ["items", "none"], ["there"])], [zero]


def _add_bias(bias: Floats) -> GraphPart:
    node = helper.make_node("Add", ["dots", "bias"], ["logits"])
    return [node], [numpy_helper.from_array(bias[None], "bias")]


class _SequenceEncoder(nn.Module):
    """Network from item vectors to the user vector and the weights of the items' boosts."""

    io_names = ("asked_rows", "items", "gaps"), ("user", "share")

    def __init__(self, student: SequenceStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor]:
        return self.student.user_vector(x_BLD, items_BL, gaps_BL), self.student.boost_weights(items_BL, gaps_BL)


class _RepeatEncoder(nn.Module):
    """Network from item vectors and repeat embeddings to the user vector and the boosts of the items."""

    io_names = ("asked_rows", "own_rows", "items", "facts"), ("user", "by")

    def __init__(self, student: RepeatStudent) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, x_BLD: Tensor, repeat_BLC: Tensor, items_BL: Tensor, features_BLF: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.student.user_vector_and_boosts(x_BLD, repeat_BLC, items_BL, features_BLF)


def _export_encoder(
    encoder: _SequenceEncoder | _RepeatEncoder, tables: Mapping[str, Tensor], n_features: int
) -> onnx.ModelProto:
    """The encoder's ONNX graph for histories of any length.

    Args:
        encoder: The network between the item tables.
        tables: The item tables whose rows it gets, by name.
        n_features: Number of repeat-consumption features an item; 0 for an encoder that gets gap classes instead.
    """
    items = torch.zeros(1, _EXAMPLE_LENGTH, dtype=torch.int64)
    table_rows = [torch.zeros(1, _EXAMPLE_LENGTH, table.shape[1]) for table in tables.values()]
    last_input = torch.zeros_like(items)
    if n_features:
        last_input = torch.zeros(1, _EXAMPLE_LENGTH, n_features)
    example = (*table_rows, items, last_input)
    dynamic_axes = {number: {1: "length"} for number in range(len(example))}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "inner.onnx"
        export(encoder.eval(), example, *encoder.io_names, dynamic_axes, file)
        return onnx.load(file)


def _lookup_float32(name: str, table: Floats) -> GraphPart:
    node = helper.make_node("Gather", [name, "there"], [f"{name}_rows"])
    return [node], [numpy_helper.from_array(table, name)]


def _multiply_float32(table: Floats) -> GraphPart:
    node = helper.make_node("MatMul", ["user", "answers"], ["dots"])
    return [node], [numpy_helper.from_array(np.ascontiguousarray(table.T), "answers")]


def _lookup_int8(name: str, table: Floats) -> GraphPart:
    quantised, scales = _quantise_int8(table)
    nodes = [
        helper.make_node("Gather", [name, "there"], [f"{name}_q"]),
        helper.make_node("Cast", [f"{name}_q"], [f"{name}_f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scales", "there"], [f"{name}_s"]),
        helper.make_node("Mul", [f"{name}_f", f"{name}_s"], [f"{name}_rows"]),
    ]
    constants = [numpy_helper.from_array(quantised, name), numpy_helper.from_array(scales, f"{name}_scales")]
    return nodes, constants


def _multiply_int8(table: Floats) -> GraphPart:
    quantised, scales = _quantise_int8(table)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["user"], ["user_q", "user_scale", "user_zero"]),
        helper.make_node("MatMulInteger", ["user_q", "answers", "user_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["sums_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sums_f", "user_scale"], ["sums_s"]),
        helper.make_node("Mul", ["sums_s", "answer_scales"], ["dots"]),
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(quantised.T), "answers"),
        numpy_helper.from_array(np.ascontiguousarray(scales.T), "answer_scales"),
    ]
    return nodes, constants


def _lookup_int4(name: str, table: Floats) -> GraphPart:
    packed, scales = int4.quantise(table)
    node = helper.make_node(
        "GatherBlockQuantized",
        [name, "there", f"{name}_scales"],
        [f"{name}_rows"],
        domain="com.microsoft",
        bits=4,
        block_size=int4.block_size_of(table.shape[1]),
        gather_axis=0,
        quantize_axis=1,
    )
    flat_rows = np.ascontiguousarray(packed.reshape(len(packed), -1))
    constants = [numpy_helper.from_array(flat_rows, name), numpy_helper.from_array(scales, f"{name}_scales")]
    return [node], constants


def _multiply_int4(table: Floats) -> GraphPart:
    packed, scales = int4.quantise(table)
    node = int4_product_node("user", "answers", "answer_scales", "dots", table.shape)
    constants = [
        numpy_helper.from_array(packed, "answers"),
        numpy_helper.from_array(scales.ravel(), "answer_scales"),
    ]
    return [node], constants


# By bits a number: rows of an item table, and logits of all items from the user vector.
_LOOKUPS: dict[int, Callable[[str, Floats], GraphPart]] = {
    4: _lookup_int4,
    8: _lookup_int8,
    32: _lookup_float32,
}
_MULTIPLICATIONS: dict[int, Callable[[Floats], GraphPart]] = {
    4: _multiply_int4,
    8: _multiply_int8,
    32: _multiply_float32,
}


def _boost_own_items() -> GraphPart:
    """Add the boosts to the logits of the user's own items."""
    node = helper.make_node("ScatterElements", ["logits", "there", "by"], ["scores"], axis=1, reduction="add")
    return [node], []


def _boost_neighbours(student: SequenceStudent, bits: int) -> GraphPart:
    """Add each item's boosts to the logits of its neighbours; the boosts have 8 bits unless the tables are in float."""
    neighbours: np.ndarray = student.near.numpy()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    index_type = np.int32
    if len(neighbours) <= _MAX_UINT16_ITEMS:
        index_type = np.uint16
    boosts = student.neighbour_boosts.weight.detach().numpy()
    scales = np.ones((len(boosts), 1), np.float32)
    if bits != 32:
        boosts, scales = _quantise_int8(boosts)
    nodes = [
        helper.make_node("Gather", ["near", "there"], ["near_short"]),
        helper.make_node("Cast", ["near_short"], ["near_at"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["near_at", "row"], ["lifted"]),
        helper.make_node("Gather", ["more", "there"], ["more_short"]),
        helper.make_node("Cast", ["more_short"], ["more_whole"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["more_scales", "there"], ["more_scale"]),
        helper.make_node("Mul", ["more_whole", "more_scale"], ["more_scaled"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["share_of"]),
        helper.make_node("Mul", ["more_scaled", "share_of"], ["more_shared"]),
        helper.make_node("Reshape", ["more_shared", "row"], ["by"]),
        helper.make_node("ScatterElements", ["logits", "lifted", "by"], ["scores"], axis=1, reduction="add"),
    ]
    constants = {
        "near": neighbours.astype(index_type),
        "more": boosts,
        "more_scales": scales,
        "row": np.array([1, -1], np.int64),
        "last": np.array([2], np.int64),
    }
    tensors = [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in constants.items()]
    return nodes, tensors


def _quantise_int8(table: Floats) -> tuple[np.ndarray, Floats]:
    """Rows in int8 (rows, width), and one scale each (rows, 1)."""
    largest = np.maximum(np.abs(table).max(1, keepdims=True), 1e-8)
    scales = (largest / 127.0).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales
