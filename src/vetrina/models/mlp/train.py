"""Multi-layer perceptron with early stopping, and a magnitude-pruned twin (Han et al. 2015).

Two hidden layers (64, 32) and a sigmoid, trained on cross-entropy unless the plan asks for another loss. Where the
label is a number, there is no sigmoid and the loss is the squared error.

For the twin, the smaller half of each hidden layer's weights is set to zero and the others are fine-tuned.
``compress.py`` packs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask
from vetrina.models.mlp.online import HIDDEN_DIMS
from vetrina.nn import losses
from vetrina.nn.onnx_export import export
from vetrina.nn.optimisers import build_optimiser

BATCH_SIZE = 64  # rows
LEARNING_RATE = 1e-3
MAX_EPOCHS = 200
PATIENCE = 12  # epochs without a smaller validation loss
PRUNED_WEIGHT_SHARE = 0.5


def build_network(n_inputs: int, is_regression: bool = False) -> nn.Sequential:
    """inputs -> 64 -> 32 -> 1 with ReLU between, and at the end a sigmoid unless the label is a number."""
    first, second = HIDDEN_DIMS
    return nn.Sequential(
        nn.Linear(n_inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 1),
        nn.Identity() if is_regression else nn.Sigmoid(),
    )


@dataclass(frozen=True)
class _Rows:
    """Inputs (rows, columns), labels (rows,), and the numbers of training and of held-out rows."""

    x: Tensor
    label: Tensor
    train_rows: Tensor
    is_held_out: Tensor


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``network.onnx`` and the pruned twin's ``pruned.npz``.

    Args:
        training_data: Needs the encoded table.
        plan: Seed, loss and optimiser.
        into: The output folder.
        progress: Reports the epochs.

    Returns:
        Report: number of epochs, and the validation losses of both networks.
    """
    table = training_data.encoded_table
    if table is None:
        raise ValueError("mlp needs an encoded table")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    is_held_out = torch.from_numpy(held_out_mask(len(table), plan.seed))
    is_regression = table.label_scaler is not None
    network = build_network(table.dense.shape[1], is_regression)
    rows = _Rows(
        torch.from_numpy(table.dense),
        torch.from_numpy(table.label),
        torch.nonzero(~is_held_out).flatten(),
        is_held_out,
    )
    base_loss = losses.mse if is_regression else losses.cross_entropy
    validation_losses = _train(network, rows, plan, base_loss, progress)
    save_network(network, into / "network.onnx")
    pruned_losses = _train(network, rows, plan, base_loss, progress, _pruning_masks(network))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    np.savez(into / "pruned.npz", number=is_regression, **state)
    return TrainNotes(
        report={
            "epochs": len(validation_losses),
            "validation_loss": min(validation_losses),
            "validation_loss_pruned": min(pruned_losses),
        }
    )


def save_network(model: nn.Sequential, path: Path) -> None:
    """Writes ONNX: ``x`` (rows, columns) to ``expected`` (rows, 1)."""
    n_inputs = next(model.parameters()).shape[1]
    export(model.eval(), (torch.zeros(2, n_inputs),), ("x",), ("expected",), {0: {0: "rows"}}, path)


def load_pruned(folder: Path) -> nn.Sequential:
    """The pruned network, read from ``pruned.npz``."""
    with np.load(folder / "pruned.npz") as file:
        state = {name: torch.from_numpy(file[name]) for name in file.files if name != "number"}
        is_regression = bool(file["number"])
    model = build_network(state["0.weight"].shape[1], is_regression)
    model.load_state_dict(state)
    return model


@dataclass(frozen=True)
class _PruningMask:
    """A weight (outputs, inputs) with 1 where it stays and 0 where it is pruned."""

    weight: Tensor
    mask: Tensor

    def apply(self) -> None:
        """Sets pruned weights to zero."""
        self.weight.data.mul_(self.mask)


def _pruning_masks(model: nn.Sequential) -> list[_PruningMask]:
    """Masks of the larger weights of each hidden layer."""
    masks = []
    for layer in list(model)[:-2]:
        if isinstance(layer, nn.Linear):
            threshold = torch.quantile(layer.weight.detach().abs(), PRUNED_WEIGHT_SHARE)
            masks.append(_PruningMask(layer.weight, (layer.weight.abs() > threshold).float()))
    return masks


def _train(
    model: nn.Sequential,
    rows: _Rows,
    plan: TrainingPlan,
    base_loss: losses.Loss,
    progress: Progress,
    masks: Sequence[_PruningMask] = (),
) -> list[float]:
    """Trains in place and returns the validation loss of each epoch; the weights of the best one stay.

    Pruned weights are zero throughout.
    """
    _apply_masks(masks)
    optimiser, _ = build_optimiser(plan.optimiser, model.parameters(), LEARNING_RATE)
    validation_losses: list[float] = []
    best_state = _copy_state(model)
    with progress.step("mlp: epochs", MAX_EPOCHS) as step:
        for _ in range(MAX_EPOCHS):
            shuffled = rows.train_rows[torch.randperm(len(rows.train_rows))]
            for batch in shuffled.split(BATCH_SIZE):
                optimiser.zero_grad(set_to_none=True)
                loss = losses.loss_by_name(plan.loss, model, rows.x[batch], rows.label[batch], base_loss)
                loss.backward()
                optimiser.step()
                _apply_masks(masks)
            validation_losses.append(_validation_loss(model, rows, base_loss))
            step.advance()
            if validation_losses[-1] == min(validation_losses):
                best_state = _copy_state(model)
            epochs_since_best = len(validation_losses) - int(np.argmin(validation_losses))
            if epochs_since_best > PATIENCE:
                break
    model.load_state_dict(best_state)
    return validation_losses


@torch.no_grad()
def _validation_loss(model: nn.Sequential, rows: _Rows, base_loss: losses.Loss) -> float:
    predictions = model(rows.x[rows.is_held_out]).squeeze(1)
    return float(base_loss(predictions, rows.label[rows.is_held_out]))


def _copy_state(model: nn.Sequential) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _apply_masks(masks: Sequence[_PruningMask]) -> None:
    for mask in masks:
        mask.apply()
