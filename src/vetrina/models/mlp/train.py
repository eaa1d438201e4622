"""Two hidden layers (64, 32) and a sigmoid, fitted by Adam on cross-entropy, stopped early on validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.models.mlp.online import SIZES
from vetrina.models.onnx_export import export

BATCH, RATE, EPOCHS, PATIENCE, VALIDATION_SHARE = 64, 1e-3, 200, 12, 0.15


def network(inputs: int) -> nn.Sequential:
    """inputs -> 64 -> 32 -> 1, ReLU between, sigmoid at the end."""
    first, second = SIZES
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 1),
        nn.Sigmoid(),
    )


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx`` and, to be pruned, ``weights.npz``. ``past.table`` holds encoded numbers in column order."""
    if past.table is None:
        raise ValueError("mlp needs a table")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    x = np.column_stack(list(past.table.columns.values())).astype(np.float32)
    held = np.random.default_rng(plan.seed).random(len(x)) < VALIDATION_SHARE
    model = network(x.shape[1])
    losses = _train(model, torch.from_numpy(x), torch.from_numpy(past.table.label), torch.from_numpy(held), progress)
    save_network(model, into / "network.onnx")
    np.savez(into / "weights.npz", **{k: v.numpy() for k, v in model.state_dict().items()})
    return {"epochs": len(losses), "validation_loss": min(losses)}


def save_network(model: nn.Sequential, path: Path) -> None:
    """The network as ONNX."""
    width = next(model.parameters()).shape[1]
    export(model.eval(), (torch.zeros(2, width),), ("x",), ("probability",), {0: {0: "rows"}}, path)


def load(folder: Path) -> nn.Sequential:
    """The network back from ``weights.npz``."""
    with np.load(folder / "weights.npz") as file:
        state = {k: torch.from_numpy(file[k]) for k in file.files}
    model = network(state["0.weight"].shape[1])
    model.load_state_dict(state)
    return model


def _train(
    model: nn.Sequential, x: torch.Tensor, y: torch.Tensor, held: torch.Tensor, progress: Progress
) -> list[float]:
    optimiser, loss = torch.optim.Adam(model.parameters(), lr=RATE), nn.BCELoss()
    rows = torch.nonzero(~held).flatten()
    losses: list[float] = []
    best = {k: v.clone() for k, v in model.state_dict().items()}
    with progress.step("mlp: epochs", EPOCHS) as step:
        for _ in range(EPOCHS):
            for batch in rows[torch.randperm(len(rows))].split(BATCH):
                optimiser.zero_grad(set_to_none=True)
                loss(model(x[batch]).squeeze(1), y[batch]).backward()
                optimiser.step()
            with torch.no_grad():
                losses.append(float(loss(model(x[held]).squeeze(1), y[held])))
            step.advance()
            if losses[-1] == min(losses):
                best = {k: v.clone() for k, v in model.state_dict().items()}
            if len(losses) - int(np.argmin(losses)) > PATIENCE:
                break
    model.load_state_dict(best)
    return losses
