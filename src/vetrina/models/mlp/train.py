"""Two hidden layers (64, 32) and a sigmoid, fitted by Adam on cross-entropy unless the plan says otherwise, stopped early on
rows held out by chance. Where the label is a number, there is no sigmoid and the squared error is made small.

A pruned twin is fitted beside it (Han et al. 2015): the smaller half of each hidden layer's weights is set to zero and what
is left learns on. ``compress.py`` packs it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers import losses as losses_of
from vetrina.layers.onnx_export import export
from vetrina.layers.optimisers import build_optimiser as optimiser_of
from vetrina.layers.random_split import held_out_mask
from vetrina.models.mlp.online import HIDDEN_DIMS

BATCH_SIZE = 64
LEARNING_RATE = 1e-3
MAX_EPOCHS = 200
PATIENCE = 12
PRUNED_WEIGHT_SHARE = 0.5


def build_network(n_inputs: int, is_regression: bool = False) -> nn.Sequential:
    """inputs -> 64 -> 32 -> 1, ReLU between, at the end a sigmoid, or nothing for a ``number``."""
    first, second = HIDDEN_DIMS
    return nn.Sequential(
        nn.Linear(n_inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 1),
        nn.Identity() if is_regression else nn.Sigmoid(),
    )


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx`` and the pruned twin's ``pruned.npz``. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("mlp needs an encoded table")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    x = training_data.encoded_table.dense
    held = held_out_mask(len(x), plan.seed)
    number = training_data.encoded_table.label_scaler is not None
    model = build_network(x.shape[1], number)
    data = (torch.from_numpy(x), torch.from_numpy(training_data.encoded_table.label), torch.from_numpy(held))
    plain = losses_of.mse if number else losses_of.cross_entropy
    losses = _train(model, *data, plan, plain, progress)
    save_network(model, into / "network.onnx")
    pruned = _train(model, *data, plan, plain, progress, _pruning_masks(model))
    np.savez(into / "pruned.npz", number=number, **{k: v.numpy() for k, v in model.state_dict().items()})
    return {"epochs": len(losses), "validation_loss": min(losses), "validation_loss_pruned": min(pruned)}


def save_network(model: nn.Sequential, path: Path) -> None:
    """The network as ONNX."""
    width = next(model.parameters()).shape[1]
    export(model.eval(), (torch.zeros(2, width),), ("x",), ("expected",), {0: {0: "rows"}}, path)


def load_pruned(folder: Path) -> nn.Sequential:
    """The pruned network back from ``pruned.npz``."""
    with np.load(folder / "pruned.npz") as file:
        state = {k: torch.from_numpy(file[k]) for k in file.files if k != "number"}
        model = build_network(state["0.weight"].shape[1], bool(file["number"]))
    model.load_state_dict(state)
    return model


def _pruning_masks(model: nn.Sequential) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each hidden layer's weight with the mask (1 stays, 0 goes) of its larger values."""
    hidden = [layer.weight for layer in list(model)[:-2] if isinstance(layer, nn.Linear)]
    return [(w, (w.abs() > torch.quantile(w.detach().abs(), PRUNED_WEIGHT_SHARE)).float()) for w in hidden]


def _train(
    model: nn.Sequential,
    x: torch.Tensor,
    y: torch.Tensor,
    held: torch.Tensor,
    plan: TrainingPlan,
    plain: losses_of.Loss,
    progress: Progress,
    masks: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
) -> list[float]:
    """Losses on ``held`` by epoch; the weights of the best one stay. Weights that a mask leaves out are zero throughout."""
    _apply_masks(masks)
    optimiser, _ = optimiser_of(plan.optimiser, model.parameters(), LEARNING_RATE)
    rows = torch.nonzero(~held).flatten()
    losses: list[float] = []
    best = {k: v.clone() for k, v in model.state_dict().items()}
    with progress.step("mlp: epochs", MAX_EPOCHS) as step:
        for _ in range(MAX_EPOCHS):
            for batch in rows[torch.randperm(len(rows))].split(BATCH_SIZE):
                optimiser.zero_grad(set_to_none=True)
                losses_of.loss_by_name(plan.loss, model, x[batch], y[batch], plain).backward()
                optimiser.step()
                _apply_masks(masks)
            with torch.no_grad():
                losses.append(float(plain(model(x[held]).squeeze(1), y[held])))
            step.advance()
            if losses[-1] == min(losses):
                best = {k: v.clone() for k, v in model.state_dict().items()}
            if len(losses) - int(np.argmin(losses)) > PATIENCE:
                break
    model.load_state_dict(best)
    return losses


def _apply_masks(masks: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for weight, mask in masks:
        weight.data.mul_(mask)
