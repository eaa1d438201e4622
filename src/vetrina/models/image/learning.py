"""Teaches a network the categories of pictures: from ImageNet's weights all layers learn on, each from a small step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.layers.transfer import Learner, Transfer
from vetrina.models.image.network import Backbone
from vetrina.models.image.pictures import Pixels, augmented, normalised

_BATCH, _RATE, _HEAD, _DECAY, _SMOOTHING, _DROPOUT, _WARM = 32, 1e-3, 5.0, 0.02, 0.1, 0.3, 0.15
_ASKED, _HELD_OUT, _WHOLE = 64, 0.1, Transfer()


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
    how: Transfer = _WHOLE,
) -> Taught:
    """AdamW over one cycle of rates on pictures (n, size, size, 3) changed at random, with smoothed labels.

    Where ``how`` has patience, a tenth of the pictures is held out and the epoch that tells most of them right stays.
    ``advance`` is called after each epoch.
    """
    torch.manual_seed(seed)
    rng, head = np.random.default_rng(seed), nn.Linear(backbone.width, classes)
    backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    learner = Learner(backbone, [backbone.stem, *backbone.blocks, backbone.head], how, epochs)
    groups = [{"params": learner.parameters, "lr": _RATE}, {"params": head.parameters(), "lr": _RATE * _HEAD}]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=_DECAY)
    held, learnt = np.split(rng.permutation(len(pixels)), [int(_HELD_OUT * len(pixels)) if how.patience else 0])
    steps = max(1, epochs * -(-len(learnt) // _BATCH))
    highest = [group["lr"] for group in optimiser.param_groups]
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest, steps, pct_start=_WARM)
    target = torch.from_numpy(label.astype(np.int64))
    best, most, kept = 0, -1.0, _state(backbone, head)
    for epoch in range(1, epochs + 1):
        learner.begin(epoch)
        for rows in np.array_split(rng.permutation(learnt), -(-len(learnt) // _BATCH)):
            found = functional.dropout(backbone(augmented(pixels[rows], rng)), _DROPOUT)
            loss = functional.cross_entropy(head(found), target[torch.from_numpy(rows)], label_smoothing=_SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            rates.step()
        advance()
        if len(held):
            right = _right(Taught(backbone, head), pixels[held], label[held])
            if right > most:
                best, most, kept = epoch, right, _state(backbone, head)
            if how.over(best, epoch):
                break
    if len(held):
        _restore(kept, backbone, head)
    learner.end()
    return Taught(backbone, head)


def _right(taught: Taught, pixels: Pixels, label: NDArray[np.integer]) -> float:
    return float((chances(taught, features(taught.backbone, pixels)).argmax(1) == label).mean())


def _state(*parts: nn.Module) -> list[dict[str, Tensor]]:
    return [{name: value.clone() for name, value in part.state_dict().items()} for part in parts]


def _restore(states: list[dict[str, Tensor]], *parts: nn.Module) -> None:
    for state, part in zip(states, parts, strict=True):
        part.load_state_dict(state)


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
