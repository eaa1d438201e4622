"""Recurrent sequence encoder (GRU4Rec, Hidasi et al. 2016; GRU or LSTM) and its hand-written ONNX graph.

The exporter of torch unrolls the loop over a fixed length; ONNX has operators of its own for both cells.
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

from vetrina.bundle.sequence_scorer.read import N_GAP_CLASSES

Cell = Literal["GRU", "LSTM"]
# torch stacks the gates of a GRU as reset, update, new, those of an LSTM as in, forget, cell, out; this is ONNX's order.
_GATE_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def build_encoder(cell: Cell, hyperparameters: Mapping[str, float]) -> "RecurrentEncoder":
    """An untrained encoder of ``width`` and ``dropout``."""
    return RecurrentEncoder(cell, int(hyperparameters["width"]), hyperparameters["dropout"])


class RecurrentEncoder(nn.Module):
    """One recurrent layer from item vectors to user vectors (batch, length, width).

    Args:
        cell: Kind of recurrent cell.
        width: Dimension of the vectors.
        dropout: Share of values that are dropped in training.
    """

    def __init__(self, cell: Cell, width: int, dropout: float) -> None:
        super().__init__()
        layer_type = nn.LSTM
        if cell == "GRU":
            layer_type = nn.GRU
        self.cell: Cell = cell
        self.gap = nn.Embedding.from_pretrained(torch.zeros(N_GAP_CLASSES, width), freeze=False)
        self.layer = layer_type(width, width, batch_first=True)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return the state after each item (batch, length, width); padding is at the end and reaches no real position.

        Args:
            x_BLD: (batch, length, width) item vectors.
            ages_BL: Not used.
            gaps_BL: (batch, length) gap classes.
        """
        states_BLD, _ = self.layer(self.dropout(x_BLD + self.gap(gaps_BL)))
        return states_BLD

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """Return user vectors (positions, width)."""
        return self.out(self.dropout(x_XD))

    def forward(self, x_BLD: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return the user vector at every position (batch, length, width)."""
        return self.user_vectors(self.encode(x_BLD, gaps_BL, gaps_BL))

    def export_onnx(self, path: Path) -> None:
        """Write an ONNX file from ``items`` (1, length, width) and ``gaps`` (1, length) to the last ``user`` (1, 1, width)."""
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
        cell_attributes: dict[str, Any] = {"hidden_size": width}
        if self.cell == "GRU":
            cell_attributes["linear_before_reset"] = 1
        nodes = [
            helper.make_node("Gather", ["gap", "gaps"], ["apart"]),
            helper.make_node("Add", ["items", "apart"], ["steps"]),
            helper.make_node("Transpose", ["steps"], ["run"], perm=[1, 0, 2]),
            helper.make_node(self.cell, ["run", "inward", "onward", "bias"], ["", "state"], **cell_attributes),
            helper.make_node("MatMul", ["state", "turn"], ["turned"]),
            helper.make_node("Add", ["turned", "shift"], ["user"]),
        ]
        inputs = [
            helper.make_tensor_value_info("items", TensorProto.FLOAT, [1, "length", width]),
            helper.make_tensor_value_info("gaps", TensorProto.INT64, [1, "length"]),
        ]
        output = helper.make_tensor_value_info("user", TensorProto.FLOAT, [1, 1, width])
        initializers = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
        graph = helper.make_graph(nodes, self.cell, inputs, [output], initializers)
        opsets = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)

    def _onnx_gates(self, stacked: NDArray[np.float32]) -> NDArray[np.float32]:
        """The gates' weights that torch stacks, in ONNX's order."""
        order = _GATE_ORDER[self.cell]
        gates = np.split(stacked, len(order))
        return np.concatenate([gates[number] for number in order])
