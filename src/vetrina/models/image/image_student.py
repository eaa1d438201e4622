"""Distilled image network with fewer pixels and features (feature matching, Romero et al. 2015, "FitNets").

The student has the teacher's layers at a smaller image size and fewer features at their end. It is trained on augmented
images to reproduce the teacher's vectors (cosine) and category probabilities (KL divergence). Training side only.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.models.image.network import ImageNetwork
from vetrina.models.image.preprocessing import Pixels, augment
from vetrina.nn.losses import listwise_kl

IMAGE_SIZE = 128  # pixels a side
N_FEATURES = 512
_BATCH_SIZE = 32  # images
_LEARNING_RATE = 5e-4
_HEAD_RATE_FACTOR = 2.0  # times the backbone's learning rate
_WEIGHT_DECAY = 0.02
_WARMUP_SHARE = 0.15  # of the optimiser's steps


def distil_network(
    teacher: ImageNetwork,
    pixels: Pixels,
    teacher_features: NDArray[np.float32],
    epochs: int,
    seed: int,
    advance: Callable[[], None],
) -> ImageNetwork:
    """A student for images of IMAGE_SIZE.

    Args:
        teacher: The network to distil; its gradients are switched off.
        pixels: Training images (n, size, size, 3).
        teacher_features: The teacher's features of them (n, width), by which the student's are chosen.
        epochs: Passes over the images.
        seed: Of the order and the augmentation.
        advance: Called after each epoch.

    Returns:
        The student in evaluation mode.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    student = _prune_features(teacher, teacher_features)
    teacher.requires_grad_(False).eval()
    student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    n_batches = math.ceil(len(pixels) / _BATCH_SIZE)
    optimiser, schedule = _build_optimiser(student, epochs * n_batches)
    for _ in range(epochs):
        student.train()
        for rows in np.array_split(rng.permutation(len(pixels)), n_batches):
            images = augment(pixels[rows], rng)
            with torch.no_grad():
                teacher_vectors, teacher_logits = teacher.vectors_and_logits(images)
            vectors, logits = student.vectors_and_logits(resize(images))
            cosine = functional.cosine_similarity(vectors, teacher_vectors).mean()
            loss = 1 - cosine + listwise_kl(logits, teacher_logits)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
        advance()
    return student.eval()


def _build_optimiser(
    student: ImageNetwork, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW with a one-cycle schedule, the heads at a higher rate."""
    head_rate = _HEAD_RATE_FACTOR * _LEARNING_RATE
    groups = [
        {"params": student.backbone.parameters(), "lr": _LEARNING_RATE},
        {"params": [*student.head.parameters(), *student.projection.parameters()], "lr": head_rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [_LEARNING_RATE, head_rate], max(1, n_steps), pct_start=_WARMUP_SHARE
    )
    return optimiser, schedule


def resize(images: Tensor) -> Tensor:
    """Normalised images (n, 3, size, size) of any size as (n, 3, IMAGE_SIZE, IMAGE_SIZE)."""
    resized = functional.interpolate(
        images, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.contiguous(memory_format=torch.channels_last)


def _prune_features(teacher: ImageNetwork, features: NDArray[np.float32]) -> ImageNetwork:
    """A copy of the teacher with its N_FEATURES most important features.

    Importance is the standard deviation of a feature times the norm of the weights that read it. The mean contribution
    of the removed features moves into the biases.
    """
    student = copy.deepcopy(teacher).requires_grad_(True)
    squared_weights = 0
    for layer in (teacher.head, teacher.projection):
        squared_weights = squared_weights + layer.weight.detach().square().sum(0).numpy()
    importance = features.std(0) * np.sqrt(squared_weights)
    most_important, removed = np.split(np.argsort(-importance), [N_FEATURES])
    retained = torch.from_numpy(np.sort(most_important))
    removed = torch.from_numpy(removed)
    mean = torch.from_numpy(features.mean(0))
    n_features = len(retained)
    conv, norm, *_ = student.backbone.head  # pyright: ignore[reportGeneralTypeIssues]
    conv.weight = nn.Parameter(conv.weight.detach()[retained].clone())
    conv.out_channels = n_features
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[retained].clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[retained].clone())
    norm.num_features = n_features
    student.backbone.width = n_features
    for layer in (student.head, student.projection):
        weight = layer.weight.detach()
        layer.bias = nn.Parameter(layer.bias.detach() + weight[:, removed] @ mean[removed])
        layer.weight = nn.Parameter(weight[:, retained].clone())
        layer.in_features = n_features
    return student
