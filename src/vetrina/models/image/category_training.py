"""Teaches a network the categories of pictures: from ImageNet's weights all layers learn on, each from a small step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.layers.fine_tuning import FineTuner, FineTuning
from vetrina.models.image.network import Backbone
from vetrina.models.image.preprocessing import Pixels, augment, normalise

_BATCH_SIZE = 32
_LEARNING_RATE = 1e-3
_HEAD_RATE_FACTOR = 5.0
_WEIGHT_DECAY = 0.02
_LABEL_SMOOTHING = 0.1
_DROPOUT = 0.3
_WARMUP_SHARE = 0.15
_INFERENCE_BATCH_SIZE = 64
_HELD_OUT_SHARE = 0.1
_ALL_WEIGHTS = FineTuning()


@dataclass(frozen=True)
class ImageClassifier:
    """A backbone and a linear layer from its features to ``classes`` categories."""

    backbone: Backbone
    head: nn.Linear


def train_classifier(
    backbone: Backbone,
    pixels: Pixels,
    labels: NDArray[np.integer],
    n_classes: int,
    epochs: int,
    seed: int,
    advance: Callable[[], None],
    fine_tuning: FineTuning = _ALL_WEIGHTS,
) -> ImageClassifier:
    """AdamW over one cycle of rates on pictures (n, size, size, 3) changed at random, with smoothed labels.

    Where ``how`` has patience, a tenth of the pictures is held out and the epoch that tells most of them right stays.
    ``advance`` is called after each epoch.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = nn.Linear(backbone.width, n_classes)
    backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    learner = FineTuner(backbone, [backbone.stem, *backbone.blocks, backbone.head], fine_tuning, epochs)
    groups = [
        {"params": learner.parameters, "lr": _LEARNING_RATE},
        {"params": head.parameters(), "lr": _LEARNING_RATE * _HEAD_RATE_FACTOR},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=_WEIGHT_DECAY)
    held, learnt = np.split(
        rng.permutation(len(pixels)), [int(_HELD_OUT_SHARE * len(pixels)) if fine_tuning.patience else 0]
    )
    steps = max(1, epochs * -(-len(learnt) // _BATCH_SIZE))
    highest = [group["lr"] for group in optimiser.param_groups]
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest, steps, pct_start=_WARMUP_SHARE)
    target = torch.from_numpy(labels.astype(np.int64))
    best = 0
    most = -1.0
    kept = _copy_states(backbone, head)
    for epoch in range(1, epochs + 1):
        learner.start_epoch(epoch)
        for rows in np.array_split(rng.permutation(learnt), -(-len(learnt) // _BATCH_SIZE)):
            found = functional.dropout(backbone(augment(pixels[rows], rng)), _DROPOUT)
            loss = functional.cross_entropy(
                head(found), target[torch.from_numpy(rows)], label_smoothing=_LABEL_SMOOTHING
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            rates.step()
        advance()
        if len(held):
            right = _accuracy(ImageClassifier(backbone, head), pixels[held], labels[held])
            if right > most:
                best = epoch
                most = right
                kept = _copy_states(backbone, head)
            if fine_tuning.should_stop(best, epoch):
                break
    if len(held):
        _load_states(kept, backbone, head)
    learner.finish()
    return ImageClassifier(backbone, head)


def _accuracy(taught: ImageClassifier, pixels: Pixels, label: NDArray[np.integer]) -> float:
    return float((predict_proba(taught, extract_features(taught.backbone, pixels)).argmax(1) == label).mean())


def _copy_states(*parts: nn.Module) -> list[dict[str, Tensor]]:
    return [{name: value.clone() for name, value in part.state_dict().items()} for part in parts]


def _load_states(states: list[dict[str, Tensor]], *parts: nn.Module) -> None:
    for state, part in zip(states, parts, strict=True):
        part.load_state_dict(state)


@torch.no_grad()
def extract_features(backbone: Backbone, pixels: Pixels) -> NDArray[np.float32]:
    """(n, width), the mean over each picture and its mirror image."""
    backbone.eval()
    found = []
    for start in range(0, len(pixels), _INFERENCE_BATCH_SIZE):
        shown = normalise(pixels[start : start + _INFERENCE_BATCH_SIZE])
        found.append(((backbone(shown) + backbone(shown.flip(3))) / 2).numpy())
    return np.concatenate(found) if found else np.empty((0, backbone.width), np.float32)


@torch.no_grad()
def predict_proba(classifier: ImageClassifier, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, classes) for ``features``."""
    return torch.softmax(classifier.head(torch.from_numpy(features)), 1).numpy()


def cross_val_predict_proba(
    features: NDArray[np.float32], labels: NDArray[np.integer], seed: int, n_folds: int = 4
) -> NDArray[np.float32]:
    """(n, classes): what a linear layer on frozen features (n, width) says of pictures that it did not learn from."""
    part = np.random.default_rng(seed).permutation(len(labels)) % n_folds
    said = np.zeros((len(labels), int(labels.max()) + 1), np.float32)
    for fold in range(n_folds):
        said[part == fold] = linear_probe_predict_proba(
            features[part != fold], labels[part != fold], features[part == fold], seed, said.shape[1]
        )
    return said


def linear_probe_predict_proba(
    train_features: NDArray[np.float32],
    labels: NDArray[np.integer],
    features: NDArray[np.float32],
    seed: int,
    n_classes: int = 0,
) -> NDArray[np.float32]:
    """(m, classes): what a linear layer that learnt from features ``known`` (n, width) says of ``asked`` (m, width)."""
    mean = train_features.mean(0)
    spread = train_features.std(0) + 1e-6
    target = torch.from_numpy(labels.astype(np.int64))
    layer = _fit_linear_probe(
        torch.from_numpy((train_features - mean) / spread), target, n_classes or int(labels.max()) + 1, seed
    )
    with torch.no_grad():
        return torch.softmax(layer(torch.from_numpy((features - mean) / spread)), 1).numpy()


def _fit_linear_probe(x: Tensor, label: Tensor, classes: int, seed: int, penalty: float = 1e-2) -> nn.Linear:
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
