"""One recurrent layer over the last items (GRU4Rec, Hidasi et al. 2016), and its ONNX graph, written by hand.

The exporter unrolls a loop of unknown length; ONNX has operators of its own for both cells.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers.next_item import training
from vetrina.retrieval.sequence_scorer import N_GAP_CLASSES

Cell = Literal["GRU", "LSTM"]
# torch stacks the gates of a GRU as reset, update, new, those of an LSTM as in, forget, cell, out; ONNX in other orders.
_GATE_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def fit(
    name: str, cell: Cell, training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress
) -> Mapping[str, Any]:
    """Writes what ``retrieval.sequence_scorer`` opens."""
    chosen = plan.hyperparameters_of(name, training.HYPERPARAMETERS)
    torch.manual_seed(plan.seed)
    encoder = RecurrentEncoder(cell, int(chosen["width"]), chosen["dropout"])
    return training.fit(name, encoder, training_data, plan, chosen, into, progress)


class RecurrentEncoder(nn.Module):
    """Item vectors in, user vectors out: (batch, length, width) to the same shape."""

    def __init__(self, cell: Cell, width: int, dropout: float) -> None:
        super().__init__()
        self.cell: Cell = cell
        self.gap = nn.Embedding.from_pretrained(torch.zeros(N_GAP_CLASSES, width), freeze=False)
        self.layer = (nn.GRU if cell == "GRU" else nn.LSTM)(width, width, batch_first=True)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """The state after each item; padding stands at the end and reaches no real position."""
        return self.layer(self.dropout(x_BLD + self.gap(gaps_BL)))[0]

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """User vectors."""
        return self.out(self.dropout(x_XD))

    def forward(self, x_BLD: Tensor, gaps_BL: Tensor) -> Tensor:
        """User vector at every position."""
        return self.user_vectors(self.encode(x_BLD, gaps_BL, gaps_BL))

    def export_onnx(self, path: Path) -> None:
        """``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, 1, width): that of the last position."""
        weight = {name: value.detach().numpy() for name, value in self.state_dict().items()}
        width = weight["out.weight"].shape[0]
        biases = [self._onnx_gates(weight[f"layer.bias_{part}_l0"]) for part in ("ih", "hh")]
        constants = {
            "gap": weight["gap.weight"],
            "inward": self._onnx_gates(weight["layer.weight_ih_l0"])[None],
            "onward": self._onnx_gates(weight["layer.weight_hh_l0"])[None],
            "bias": np.concatenate(biases)[None],
            "turn": np.ascontiguousarray(weight["out.weight"].T),
            "shift": weight["out.bias"],
        }
        before: dict[str, Any] = {"linear_before_reset": 1} if self.cell == "GRU" else {}
        nodes = [
            helper.make_node("Gather", ["gap", "gaps"], ["apart"]),
            helper.make_node("Add", ["items", "apart"], ["steps"]),
            helper.make_node("Transpose", ["steps"], ["run"], perm=[1, 0, 2]),
            helper.make_node(
                self.cell, ["run", "inward", "onward", "bias"], ["", "state"], hidden_size=width, **before
            ),
            helper.make_node("MatMul", ["state", "turn"], ["turned"]),
            helper.make_node("Add", ["turned", "shift"], ["user"]),
        ]
        inputs = [
            helper.make_tensor_value_info("items", TensorProto.FLOAT, [1, "length", width]),
            helper.make_tensor_value_info("gaps", TensorProto.INT64, [1, "length"]),
        ]
        output = helper.make_tensor_value_info("user", TensorProto.FLOAT, [1, 1, width])
        held = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
        graph = helper.make_graph(nodes, self.cell, inputs, [output], held)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
        )  # fmt: skip

    def _onnx_gates(self, stacked: NDArray[np.float32]) -> NDArray[np.float32]:
        order = _GATE_ORDER[self.cell]
        return np.concatenate([np.split(stacked, len(order))[gate] for gate in order])
