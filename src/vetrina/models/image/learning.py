"""Teaches a network the categories of pictures: from ImageNet's weights all layers learn on, each from a small step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.models.image.network import Backbone
from vetrina.models.image.pictures import Pixels, augmented, normalised

_BATCH, _RATE, _HEAD, _DECAY, _SMOOTHING, _DROPOUT, _WARM = 32, 1e-3, 5.0, 0.02, 0.1, 0.3, 0.15
_ASKED = 64


@dataclass(frozen=True)
class Taught:
    """A backbone and a linear layer from its features to ``classes`` categories."""

    backbone: Backbone
    head: nn.Linear


def teach(
    backbone: Backbone,
    pixels: Pixels,
    label: NDArray[np.integer],
    classes: int,
    epochs: int,
    seed: int,
    advance: Callable[[], None],
) -> Taught:
    """AdamW over one cycle of rates on pictures (n, size, size, 3) changed at random, with smoothed labels; ``advance`` is
    called after each epoch."""
    torch.manual_seed(seed)
    rng, head = np.random.default_rng(seed), nn.Linear(backbone.width, classes)
    backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    groups = [{"params": backbone.parameters(), "lr": _RATE}, {"params": head.parameters(), "lr": _RATE * _HEAD}]
    optimiser = torch.optim.AdamW(groups, weight_decay=_DECAY)
    steps = max(1, epochs * -(-len(pixels) // _BATCH))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, [_RATE, _RATE * _HEAD], steps, pct_start=_WARM)
    target = torch.from_numpy(label.astype(np.int64))
    for _ in range(epochs):
        backbone.train()
        for rows in np.array_split(rng.permutation(len(pixels)), -(-len(pixels) // _BATCH)):
            found = functional.dropout(backbone(augmented(pixels[rows], rng)), _DROPOUT)
            loss = functional.cross_entropy(head(found), target[torch.from_numpy(rows)], label_smoothing=_SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            rates.step()
        advance()
    backbone.eval()
    return Taught(backbone, head)


@torch.no_grad()
def features(backbone: Backbone, pixels: Pixels) -> NDArray[np.float32]:
    """(n, width), the mean over each picture and its mirror image."""
    backbone.eval()
    found = []
    for start in range(0, len(pixels), _ASKED):
        shown = normalised(pixels[start : start + _ASKED])
        found.append(((backbone(shown) + backbone(shown.flip(3))) / 2).numpy())
    return np.concatenate(found) if found else np.empty((0, backbone.width), np.float32)


@torch.no_grad()
def chances(taught: Taught, found: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, classes) for ``features``."""
    return torch.softmax(taught.head(torch.from_numpy(found)), 1).numpy()


def told_by_others(
    found: NDArray[np.float32], label: NDArray[np.integer], seed: int, folds: int = 4
) -> NDArray[np.float32]:
    """(n, classes): what a linear layer on frozen features (n, width) says of pictures that it did not learn from."""
    part = np.random.default_rng(seed).permutation(len(label)) % folds
    said = np.zeros((len(label), int(label.max()) + 1), np.float32)
    for fold in range(folds):
        said[part == fold] = told_by(found[part != fold], label[part != fold], found[part == fold], seed, said.shape[1])
    return said


def told_by(
    known: NDArray[np.float32], label: NDArray[np.integer], asked: NDArray[np.float32], seed: int, classes: int = 0
) -> NDArray[np.float32]:
    """(m, classes): what a linear layer that learnt from features ``known`` (n, width) says of ``asked`` (m, width)."""
    mean, spread = known.mean(0), known.std(0) + 1e-6
    target = torch.from_numpy(label.astype(np.int64))
    layer = _linear(torch.from_numpy((known - mean) / spread), target, classes or int(label.max()) + 1, seed)
    with torch.no_grad():
        return torch.softmax(layer(torch.from_numpy((asked - mean) / spread)), 1).numpy()


def _linear(x: Tensor, label: Tensor, classes: int, seed: int, penalty: float = 1e-2) -> nn.Linear:
    torch.manual_seed(seed)
    layer = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(layer.weight)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(layer(x), label) + penalty * layer.weight.square().sum() / 2
        loss.backward()
        return loss

    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    return layer
