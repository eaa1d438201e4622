"""Writes a ``SequenceStudent`` as one ONNX file: ``items`` and ``gaps`` (1, length) to ``scores`` (1, products)."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from vetrina.core.errors import Unfit
from vetrina.core.types import Floats
from vetrina.layers.onnx_export import export
from vetrina.layers.sequence_student import SequenceStudent
from vetrina.retrieval import nibbles

_SHORT = 65_536  # products that 16 bits tell apart
Graph = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def write(student: SequenceStudent, path: Path, bits: int) -> None:
    """Tables of products in ``bits`` (4, 8 or 32 for float) a number. Raises Unfit for weights that are no numbers."""
    asked, answers = (t.detach().numpy() for t in (student.asked.weight, student.answers.weight))
    bias = student.answers.bias.detach().numpy()
    if not all(torch.isfinite(weight).all() for weight in student.parameters()):
        raise Unfit("its weights hold what is no number")
    if bits == 4 and not nibbles.block_of(asked.shape[1]):
        raise Unfit(f"a width of {asked.shape[1]} is no multiple of {nibbles.BLOCKS[-1]}")
    inner = _inner(student)
    looked_up, multiplied = {4: (_rows_4, _dots_4), 8: (_rows_8, _dots_8), 32: (_rows_32, _dots_32)}[bits]
    (first, tables), (last, more), (lift, lifts) = looked_up(asked), multiplied(answers), _lifts(student, bits)
    clamp = [helper.make_node("Max", ["items", "none"], ["there"])]
    shift = [helper.make_node("Add", ["dots", "bias"], ["logits"])]
    constants = [
        *tables,
        *more,
        *lifts,
        numpy_helper.from_array(bias[None], "bias"),
        numpy_helper.from_array(np.zeros(1, np.int64), "none"),
    ]
    whole = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "length"]) for name in ("items", "gaps")]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(answers)])
    graph = helper.make_graph(
        [*clamp, *first, *inner.graph.node, *last, *shift, *lift],
        "student",
        whole,
        [scores],
        [*inner.graph.initializer, *constants],
    )
    opset = max(known.version for known in inner.opset_import if not known.domain)
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)


class _Inner(nn.Module):
    """Products' vectors to the user's, and how much what each product lifts counts."""

    def __init__(self, student: SequenceStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor]:
        return self.student.user(x_BLD, items_BL, gaps_BL), self.student.share(items_BL, gaps_BL)


def _inner(student: SequenceStudent) -> onnx.ModelProto:
    items = torch.zeros(1, 5, dtype=torch.int64)
    example = torch.zeros(1, 5, student.asked.embedding_dim), items, torch.zeros_like(items)
    free = {number: {1: "length"} for number in range(3)}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "inner.onnx"
        export(_Inner(student).eval(), example, ("vectors", "items", "gaps"), ("user", "share"), free, file)
        return onnx.load(file)


def _rows_32(table: Floats) -> Graph:
    return [helper.make_node("Gather", ["asked", "there"], ["vectors"])], [numpy_helper.from_array(table, "asked")]


def _dots_32(table: Floats) -> Graph:
    held = numpy_helper.from_array(np.ascontiguousarray(table.T), "answers")
    return [helper.make_node("MatMul", ["user", "answers"], ["dots"])], [held]


def _rows_8(table: Floats) -> Graph:
    whole, scales = _rounded(table)
    nodes = [
        helper.make_node("Gather", ["asked", "there"], ["asked_q"]),
        helper.make_node("Cast", ["asked_q"], ["asked_f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["asked_scales", "there"], ["asked_s"]),
        helper.make_node("Mul", ["asked_f", "asked_s"], ["vectors"]),
    ]
    return nodes, [numpy_helper.from_array(whole, "asked"), numpy_helper.from_array(scales, "asked_scales")]


def _dots_8(table: Floats) -> Graph:
    whole, scales = _rounded(table)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["user"], ["user_q", "user_scale", "user_zero"]),
        helper.make_node("MatMulInteger", ["user_q", "answers", "user_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["sums_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sums_f", "user_scale"], ["sums_s"]),
        helper.make_node("Mul", ["sums_s", "answer_scales"], ["dots"]),
    ]
    held = numpy_helper.from_array(np.ascontiguousarray(whole.T), "answers")
    return nodes, [held, numpy_helper.from_array(np.ascontiguousarray(scales.T), "answer_scales")]


def _rows_4(table: Floats) -> Graph:
    pairs, scales = nibbles.packed(table)
    block = nibbles.block_of(table.shape[1])
    node = helper.make_node(
        "GatherBlockQuantized",
        ["asked", "there", "asked_scales"],
        ["vectors"],
        domain="com.microsoft",
        bits=4,
        block_size=block,
        gather_axis=0,
        quantize_axis=1,
    )
    flat = numpy_helper.from_array(np.ascontiguousarray(pairs.reshape(len(pairs), -1)), "asked")
    return [node], [flat, numpy_helper.from_array(scales, "asked_scales")]


def _dots_4(table: Floats) -> Graph:
    pairs, scales = nibbles.packed(table)
    rows, width = table.shape
    node = helper.make_node(
        "MatMulNBits",
        ["user", "answers", "answer_scales"],
        ["dots"],
        domain="com.microsoft",
        K=width,
        N=rows,
        bits=4,
        block_size=nibbles.block_of(width),
        accuracy_level=4,
    )
    return [node], [numpy_helper.from_array(pairs, "answers"), numpy_helper.from_array(scales.ravel(), "answer_scales")]


def _lifts(student: SequenceStudent, bits: int) -> Graph:
    """Adds what each product lifts to the logits of a few others; in 8 bits where tables are small."""
    near, more = (t.detach().numpy() for t in (student.near, student.more.weight))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    at = near.astype(np.uint16 if len(near) <= _SHORT else np.int32)
    values, scales = (more, np.ones((len(more), 1), np.float32)) if bits == 32 else _rounded(more)
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


def _rounded(table: Floats) -> tuple[np.ndarray, Floats]:
    """int8 rows and one scale each (rows, 1)."""
    scales = (np.maximum(np.abs(table).max(1, keepdims=True), 1e-8) / 127.0).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales
