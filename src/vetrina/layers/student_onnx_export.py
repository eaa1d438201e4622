"""Writes a student as one ONNX file: ``items`` and ``gaps`` or ``facts`` of one request to ``scores`` (1, products)."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from vetrina.core.errors import UnusableVariant
from vetrina.core.types import Floats
from vetrina.layers.onnx_export import export
from vetrina.layers.repeat_student import RepeatStudent
from vetrina.layers.sequence_student import SequenceStudent
from vetrina.retrieval import int4

_MAX_UINT16_ITEMS = 65_536  # products that 16 bits tell apart
GraphPart = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def write(student: SequenceStudent | RepeatStudent, path: Path, bits: int) -> None:
    """Tables of products in ``bits`` (4, 8 or 32 for float) a number. Raises Unfit for weights that are no numbers."""
    answers, bias = (t.detach().numpy() for t in (student.output_layer.weight, student.output_layer.bias))
    if not all(torch.isfinite(weight).all() for weight in student.parameters()):
        raise UnusableVariant("its weights hold what is no number")
    if bits == 4 and not int4.block_size_of(answers.shape[1]):
        raise UnusableVariant(f"a width of {answers.shape[1]} is no multiple of {int4.BLOCK_SIZES[-1]}")
    looked_up, multiplied = {
        4: (_lookup_int4, _multiply_int4),
        8: (_lookup_int8, _multiply_int8),
        32: (_lookup_float32, _multiply_float32),
    }[bits]
    tables = {"asked": student.input_embedding.weight}
    if isinstance(student, RepeatStudent):
        tables["own"] = student.repeat_embedding.weight
        n_features = student.mean.numel()  # pyright: ignore[reportCallIssue]
        inner = _export_encoder(_RepeatEncoder(student), tables, n_features)
        lift = _boost_own_items()
    else:
        inner = _export_encoder(_SequenceEncoder(student), tables, 0)
        lift = _boost_neighbours(student, bits)
    parts: list[GraphPart] = [
        (
            [helper.make_node("Max", ["items", "none"], ["there"])],
            [numpy_helper.from_array(np.zeros(1, np.int64), "none")],
        ),
        *(looked_up(name, table.detach().numpy()) for name, table in tables.items()),
        (list(inner.graph.node), list(inner.graph.initializer)),
        multiplied(answers),
        ([helper.make_node("Add", ["dots", "bias"], ["logits"])], [numpy_helper.from_array(bias[None], "bias")]),
        lift,
    ]
    given = [given for given in inner.graph.input if given.name in student.INPUTS]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(answers)])
    nodes = [n for part, _ in parts for n in part]
    constants = [c for _, part in parts for c in part]
    graph = helper.make_graph(nodes, "student", given, [scores], constants)
    opset = max(known.version for known in inner.opset_import if not known.domain)
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)


class _SequenceEncoder(nn.Module):
    """Products' vectors to the user's, and how much what each product lifts counts."""

    io_names = ("asked_rows", "items", "gaps"), ("user", "share")

    def __init__(self, student: SequenceStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor]:
        return self.student.user_vector(x_BLD, items_BL, gaps_BL), self.student.boost_weights(items_BL, gaps_BL)


class _RepeatEncoder(nn.Module):
    """Products' vectors and columns to the user's vector, and how much each product is lifted."""

    io_names = ("asked_rows", "own_rows", "items", "facts"), ("user", "by")

    def __init__(self, student: RepeatStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, x_BLD: Tensor, own_BLC: Tensor, items_BL: Tensor, facts_BLF: Tensor) -> tuple[Tensor, Tensor]:
        return self.student.user_vector_and_boosts(x_BLD, own_BLC, items_BL, facts_BLF)


def _export_encoder(part: _SequenceEncoder | _RepeatEncoder, tables: dict[str, Tensor], facts: int) -> onnx.ModelProto:
    """``facts`` of each product, 0 where its gap is given instead."""
    items = torch.zeros(1, 5, dtype=torch.int64)
    rows = [torch.zeros(1, 5, table.shape[1]) for table in tables.values()]
    example = *rows, items, torch.zeros(1, 5, facts) if facts else torch.zeros_like(items)
    free = {number: {1: "length"} for number in range(len(example))}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "inner.onnx"
        export(part.eval(), example, *part.io_names, free, file)
        return onnx.load(file)


def _lookup_float32(name: str, table: Floats) -> GraphPart:
    return [helper.make_node("Gather", [name, "there"], [f"{name}_rows"])], [numpy_helper.from_array(table, name)]


def _multiply_float32(table: Floats) -> GraphPart:
    held = numpy_helper.from_array(np.ascontiguousarray(table.T), "answers")
    return [helper.make_node("MatMul", ["user", "answers"], ["dots"])], [held]


def _lookup_int8(name: str, table: Floats) -> GraphPart:
    whole, scales = _quantise_int8(table)
    nodes = [
        helper.make_node("Gather", [name, "there"], [f"{name}_q"]),
        helper.make_node("Cast", [f"{name}_q"], [f"{name}_f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scales", "there"], [f"{name}_s"]),
        helper.make_node("Mul", [f"{name}_f", f"{name}_s"], [f"{name}_rows"]),
    ]
    return nodes, [numpy_helper.from_array(whole, name), numpy_helper.from_array(scales, f"{name}_scales")]


def _multiply_int8(table: Floats) -> GraphPart:
    whole, scales = _quantise_int8(table)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["user"], ["user_q", "user_scale", "user_zero"]),
        helper.make_node("MatMulInteger", ["user_q", "answers", "user_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["sums_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sums_f", "user_scale"], ["sums_s"]),
        helper.make_node("Mul", ["sums_s", "answer_scales"], ["dots"]),
    ]
    held = numpy_helper.from_array(np.ascontiguousarray(whole.T), "answers")
    return nodes, [held, numpy_helper.from_array(np.ascontiguousarray(scales.T), "answer_scales")]


def _lookup_int4(name: str, table: Floats) -> GraphPart:
    pairs, scales = int4.quantise(table)
    block = int4.block_size_of(table.shape[1])
    node = helper.make_node(
        "GatherBlockQuantized",
        [name, "there", f"{name}_scales"],
        [f"{name}_rows"],
        domain="com.microsoft",
        bits=4,
        block_size=block,
        gather_axis=0,
        quantize_axis=1,
    )
    flat = numpy_helper.from_array(np.ascontiguousarray(pairs.reshape(len(pairs), -1)), name)
    return [node], [flat, numpy_helper.from_array(scales, f"{name}_scales")]


def _multiply_int4(table: Floats) -> GraphPart:
    pairs, scales = int4.quantise(table)
    rows, width = table.shape
    node = helper.make_node(
        "MatMulNBits",
        ["user", "answers", "answer_scales"],
        ["dots"],
        domain="com.microsoft",
        K=width,
        N=rows,
        bits=4,
        block_size=int4.block_size_of(width),
        accuracy_level=4,
    )
    return [node], [numpy_helper.from_array(pairs, "answers"), numpy_helper.from_array(scales.ravel(), "answer_scales")]


def _boost_own_items() -> GraphPart:
    """Lifts the products that were taken."""
    return [helper.make_node("ScatterElements", ["logits", "there", "by"], ["scores"], axis=1, reduction="add")], []


def _boost_neighbours(student: SequenceStudent, bits: int) -> GraphPart:
    """Adds what each product lifts to the logits of a few others; in 8 bits where tables are small."""
    near, more = (t.detach().numpy() for t in (student.near, student.neighbour_boosts.weight))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    at = near.astype(np.uint16 if len(near) <= _MAX_UINT16_ITEMS else np.int32)
    values, scales = (more, np.ones((len(more), 1), np.float32)) if bits == 32 else _quantise_int8(more)
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
        "near": at,
        "more": values,
        "more_scales": scales,
        "row": np.array([1, -1], np.int64),
        "last": np.array([2], np.int64),
    }
    return nodes, [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in constants.items()]


def _quantise_int8(table: Floats) -> tuple[np.ndarray, Floats]:
    """int8 rows and one scale each (rows, 1)."""
    scales = (np.maximum(np.abs(table).max(1, keepdims=True), 1e-8) / 127.0).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales
