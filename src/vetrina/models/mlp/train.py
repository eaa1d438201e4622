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
from vetrina.core.types import Past, Plan
from vetrina.layers import losses as losses_of
from vetrina.layers.held_rows import held_out
from vetrina.layers.onnx_export import export
from vetrina.layers.optimisers import optimiser as optimiser_of
from vetrina.models.mlp.online import SIZES

BATCH, RATE, EPOCHS, PATIENCE = 64, 1e-3, 200, 12
PRUNED_SHARE = 0.5


def network(inputs: int, number: bool = False) -> nn.Sequential:
    """inputs -> 64 -> 32 -> 1, ReLU between, at the end a sigmoid, or nothing for a ``number``."""
    first, second = SIZES
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 1),
        nn.Identity() if number else nn.Sigmoid(),
    )


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx`` and the pruned twin's ``pruned.npz``. Needs ``past.rows``."""
    if past.rows is None:
        raise ValueError("mlp needs an encoded table")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    x = past.rows.dense
    held = held_out(len(x), plan.seed)
    number = past.rows.number is not None
    model = network(x.shape[1], number)
    data = (torch.from_numpy(x), torch.from_numpy(past.rows.label), torch.from_numpy(held))
    plain = losses_of.mse if number else losses_of.cross_entropy
    losses = _train(model, *data, plan, plain, progress)
    save_network(model, into / "network.onnx")
    pruned = _train(model, *data, plan, plain, progress, _smaller_half(model))
    np.savez(into / "pruned.npz", number=number, **{k: v.numpy() for k, v in model.state_dict().items()})
    return {"epochs": len(losses), "validation_loss": min(losses), "validation_loss_pruned": min(pruned)}


def save_network(model: nn.Sequential, path: Path) -> None:
    """The network as ONNX."""
    width = next(model.parameters()).shape[1]
    export(model.eval(), (torch.zeros(2, width),), ("x",), ("expected",), {0: {0: "rows"}}, path)


def load(folder: Path) -> nn.Sequential:
    """The pruned network back from ``pruned.npz``."""
    with np.load(folder / "pruned.npz") as file:
        state = {k: torch.from_numpy(file[k]) for k in file.files if k != "number"}
        model = network(state["0.weight"].shape[1], bool(file["number"]))
    model.load_state_dict(state)
    return model


def _smaller_half(model: nn.Sequential) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each hidden layer's weight with the mask (1 stays, 0 goes) of its larger values."""
    hidden = [layer.weight for layer in list(model)[:-2] if isinstance(layer, nn.Linear)]
    return [(w, (w.abs() > torch.quantile(w.detach().abs(), PRUNED_SHARE)).float()) for w in hidden]


def _train(
    model: nn.Sequential,
    x: torch.Tensor,
    y: torch.Tensor,
    held: torch.Tensor,
    plan: Plan,
    plain: losses_of.Loss,
    progress: Progress,
    masks: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
) -> list[float]:
    """Losses on ``held`` by epoch; the weights of the best one stay. Weights that a mask leaves out are zero throughout."""
    _apply(masks)
    optimiser, _ = optimiser_of(plan.optimiser, model.parameters(), RATE)
    rows = torch.nonzero(~held).flatten()
    losses: list[float] = []
    best = {k: v.clone() for k, v in model.state_dict().items()}
    with progress.step("mlp: epochs", EPOCHS) as step:
        for _ in range(EPOCHS):
            for batch in rows[torch.randperm(len(rows))].split(BATCH):
                optimiser.zero_grad(set_to_none=True)
                losses_of.of(plan.loss, model, x[batch], y[batch], plain).backward()
                optimiser.step()
                _apply(masks)
            with torch.no_grad():
                losses.append(float(plain(model(x[held]).squeeze(1), y[held])))
            step.advance()
            if losses[-1] == min(losses):
                best = {k: v.clone() for k, v in model.state_dict().items()}
            if len(losses) - int(np.argmin(losses)) > PATIENCE:
                break
    model.load_state_dict(best)
    return losses


def _apply(masks: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for weight, mask in masks:
        weight.data.mul_(mask)
