"""Training of the image classifier on categories: fine-tuning of the backbone, feature extraction and linear probes.

From ImageNet weights all layers are fine-tuned with a small learning rate. It knows nothing of the catalogue or of
files.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.engines import Engine
from vetrina.engines.local import LocalEngine
from vetrina.models.image.network import Backbone
from vetrina.models.image.preprocessing import Pixels, augment, normalise
from vetrina.nn.fine_tuning import FineTuner, FineTuning

_BATCH_SIZE = 32  # images
_LEARNING_RATE = 1e-3
_HEAD_RATE_FACTOR = 5.0  # times the backbone's learning rate
_WEIGHT_DECAY = 0.02
_LABEL_SMOOTHING = 0.1
_DROPOUT = 0.3
_WARMUP_SHARE = 0.15  # of the optimiser's steps
_INFERENCE_BATCH_SIZE = 64  # images
_HELD_OUT_SHARE = 0.1  # of the images, where training may stop early
_PROBE_L2_PENALTY = 1e-2
_PROBE_MAX_ITERATIONS = 60
_ALL_WEIGHTS = FineTuning()
_LOCAL_ENGINE = LocalEngine()


@dataclass(frozen=True)
class ImageClassifier:
    """A backbone and a linear layer from its features to category logits."""

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
    """Fine-tunes a backbone in place with a new linear head: AdamW, one-cycle schedule, augmentation, smoothed labels.

    Where ``fine_tuning`` has patience, a tenth of the images is held out, and the weights of the epoch with the highest
    accuracy on them are restored.

    Args:
        backbone: The network to fine-tune.
        pixels: Images (n, size, size, 3).
        labels: Category of each image (n,), from 0.
        n_classes: Number of categories.
        epochs: Most passes over the images.
        seed: Of initialisation, order and augmentation.
        advance: Called after each epoch.
        fine_tuning: Which layers are trained, and when to stop.

    Returns:
        The classifier in evaluation mode.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = nn.Linear(backbone.width, n_classes)
    backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    classifier = ImageClassifier(backbone, head)
    tuner = FineTuner(backbone, [backbone.stem, *backbone.blocks, backbone.head], fine_tuning, epochs)
    n_held_out = 0
    if fine_tuning.patience:
        n_held_out = int(_HELD_OUT_SHARE * len(pixels))
    held_out_rows, train_rows = np.split(rng.permutation(len(pixels)), [n_held_out])
    n_batches = math.ceil(len(train_rows) / _BATCH_SIZE)
    optimiser, schedule = _build_optimiser(tuner.parameters, head, epochs * n_batches)
    target = torch.from_numpy(labels.astype(np.int64))
    best_epoch = 0
    best_accuracy = -1.0
    best_states = _copy_states(backbone, head)
    for epoch in range(1, epochs + 1):
        tuner.start_epoch(epoch)
        for rows in np.array_split(rng.permutation(train_rows), n_batches):
            features = backbone(augment(pixels[rows], rng))
            logits = head(functional.dropout(features, _DROPOUT))
            batch_target = target[torch.from_numpy(rows)]
            loss = functional.cross_entropy(logits, batch_target, label_smoothing=_LABEL_SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
        advance()
        if not len(held_out_rows):
            continue
        accuracy = _accuracy(classifier, pixels[held_out_rows], labels[held_out_rows])
        if accuracy > best_accuracy:
            best_epoch = epoch
            best_accuracy = accuracy
            best_states = _copy_states(backbone, head)
        if fine_tuning.should_stop(best_epoch, epoch):
            break
    if len(held_out_rows):
        _load_states(best_states, backbone, head)
    tuner.finish()
    return classifier


def _build_optimiser(
    backbone_parameters: list[nn.Parameter], head: nn.Linear, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW with a one-cycle schedule, the head at a higher rate; the backbone may have no trainable weights."""
    groups = []
    if backbone_parameters:
        groups.append({"params": backbone_parameters, "lr": _LEARNING_RATE})
    groups.append({"params": head.parameters(), "lr": _LEARNING_RATE * _HEAD_RATE_FACTOR})
    optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    max_rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_rates, max(1, n_steps), pct_start=_WARMUP_SHARE)
    return optimiser, schedule


def _accuracy(classifier: ImageClassifier, pixels: Pixels, labels: NDArray[np.integer]) -> float:
    probabilities = predict_proba(classifier, extract_features(classifier.backbone, pixels))
    return float((probabilities.argmax(1) == labels).mean())


def _copy_states(*modules: nn.Module) -> list[dict[str, Tensor]]:
    states = []
    for module in modules:
        states.append({name: value.clone() for name, value in module.state_dict().items()})
    return states


def _load_states(states: list[dict[str, Tensor]], *modules: nn.Module) -> None:
    for state, module in zip(states, modules, strict=True):
        module.load_state_dict(state)


def extract_features(backbone: Backbone, pixels: Pixels, engine: Engine = _LOCAL_ENGINE) -> NDArray[np.float32]:
    """Features (n, width) of images (n, size, size, 3), the mean over each image and its mirror image."""
    backbone.eval()
    if not len(pixels):
        return np.empty((0, backbone.width), np.float32)
    batches = [pixels[start : start + _INFERENCE_BATCH_SIZE] for start in range(0, len(pixels), _INFERENCE_BATCH_SIZE)]
    return np.concatenate(list(engine.map(partial(_batch_features, backbone), batches)))


@torch.no_grad()
def _batch_features(backbone: Backbone, pixels: Pixels) -> NDArray[np.float32]:
    images = normalise(pixels)
    features = (backbone(images) + backbone(images.flip(3))) / 2
    return features.numpy()


@torch.no_grad()
def predict_proba(classifier: ImageClassifier, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Category probabilities (n, classes) for features (n, width)."""
    return torch.softmax(classifier.head(torch.from_numpy(features)), 1).numpy()


def cross_val_predict_proba(
    features: NDArray[np.float32], labels: NDArray[np.integer], seed: int, n_folds: int = 4
) -> NDArray[np.float32]:
    """Cross-validated category probabilities by a linear probe on frozen features.

    Args:
        features: Features of images (n, width).
        labels: Category of each image (n,), from 0.
        seed: Of the folds and the probes.
        n_folds: Number of folds.

    Returns:
        (n, classes), for each image by a probe that was not trained on it.
    """
    n_classes = int(labels.max()) + 1
    fold_of = np.random.default_rng(seed).permutation(len(labels)) % n_folds
    probabilities = np.zeros((len(labels), n_classes), np.float32)
    for fold in range(n_folds):
        is_train = fold_of != fold
        is_test = fold_of == fold
        probabilities[is_test] = linear_probe_predict_proba(
            features[is_train], labels[is_train], features[is_test], seed, n_classes
        )
    return probabilities


def linear_probe_predict_proba(
    train_features: NDArray[np.float32],
    labels: NDArray[np.integer],
    features: NDArray[np.float32],
    seed: int,
    n_classes: int = 0,
) -> NDArray[np.float32]:
    """Category probabilities by a linear layer trained on standardised features.

    Args:
        train_features: Features to train on (n, width).
        labels: Their categories (n,), from 0.
        features: Features to predict for (m, width).
        seed: Of the layer's initialisation.
        n_classes: Number of categories; 0 for the largest label and one.

    Returns:
        (m, classes).
    """
    if not n_classes:
        n_classes = int(labels.max()) + 1
    mean = train_features.mean(0)
    spread = train_features.std(0) + 1e-6
    target = torch.from_numpy(labels.astype(np.int64))
    standardised = torch.from_numpy((train_features - mean) / spread)
    probe = _fit_linear_probe(standardised, target, n_classes, seed)
    with torch.no_grad():
        logits = probe(torch.from_numpy((features - mean) / spread))
        return torch.softmax(logits, 1).numpy()


def _fit_linear_probe(features: Tensor, target: Tensor, n_classes: int, seed: int) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS with an L2 penalty."""
    torch.manual_seed(seed)
    layer = nn.Linear(features.shape[1], n_classes)
    nn.init.zeros_(layer.weight)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=_PROBE_MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = _PROBE_L2_PENALTY * layer.weight.square().sum() / 2
        loss = functional.cross_entropy(layer(features), target) + penalty
        loss.backward()
        return loss

    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    return layer
