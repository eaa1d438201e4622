"""A smaller network of pictures that a larger one teaches: the same layers at fewer pixels, with fewer features at their end.

It learns to see what its teacher sees (vectors of the features, by cosine: feature matching; Romero et al. 2015, "FitNets") and
to say what it says (KL of the chances), of pictures changed at random. Training side only.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.layers.losses import listwise_kl
from vetrina.models.image.network import ImageNetwork
from vetrina.models.image.preprocessing import Pixels, augment

IMAGE_SIZE = 128
N_FEATURES = 512
_BATCH_SIZE = 32
_LEARNING_RATE = 5e-4
_HEAD_RATE_FACTOR = 2.0
_WEIGHT_DECAY = 0.02
_WARMUP_SHARE = 0.15


def distil_network(
    teacher: ImageNetwork,
    pixels: Pixels,
    teacher_features: NDArray[np.float32],
    epochs: int,
    seed: int,
    advance: Callable[[], None],
) -> ImageNetwork:
    """A student for pictures of SIZE, taught with ``pixels`` (n, size, size, 3) whose features are ``found`` (n, width)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    student = _prune_features(teacher, teacher_features)
    teacher.requires_grad_(False).eval()
    student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ends = [*student.head.parameters(), *student.projection.parameters()]
    groups = [
        {"params": student.backbone.parameters(), "lr": _LEARNING_RATE},
        {"params": ends, "lr": _HEAD_RATE_FACTOR * _LEARNING_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    batches = -(-len(pixels) // _BATCH_SIZE)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [_LEARNING_RATE, _HEAD_RATE_FACTOR * _LEARNING_RATE],
        max(1, epochs * batches),
        pct_start=_WARMUP_SHARE,
    )
    for _ in range(epochs):
        student.train()
        for rows in np.array_split(rng.permutation(len(pixels)), batches):
            shown = augment(pixels[rows], rng)
            with torch.no_grad():
                seen, told = teacher.vectors_and_logits(shown)
            vector, logits = student.vectors_and_logits(resize(shown))
            loss = 1 - functional.cosine_similarity(vector, seen).mean() + listwise_kl(logits, told)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            rates.step()
        advance()
    return student.eval()


def resize(images: Tensor) -> Tensor:
    """(n, 3, SIZE, SIZE) of ``normalised`` pictures of any size."""
    found = functional.interpolate(
        images, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True, align_corners=False
    )
    return found.contiguous(memory_format=torch.channels_last)


def _prune_features(teacher: ImageNetwork, found: NDArray[np.float32]) -> ImageNetwork:
    """The teacher with the FEATURES that matter most, by their spread times what is made of them; what the others say in the mean
    moves into the biases."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    made = sum(layer.weight.detach().square().sum(0).numpy() for layer in (teacher.head, teacher.projection))
    kept, gone = np.split(np.argsort(-found.std(0) * np.sqrt(made)), [N_FEATURES])
    kept = torch.from_numpy(np.sort(kept))
    gone = torch.from_numpy(gone)
    mean = torch.from_numpy(found.mean(0))
    conv, norm, *_ = student.backbone.head  # pyright: ignore[reportGeneralTypeIssues]
    conv.weight, conv.out_channels = nn.Parameter(conv.weight.detach()[kept].clone()), len(kept)
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[kept].clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[kept].clone())
    norm.num_features = student.backbone.width = len(kept)
    for layer in (student.head, student.projection):
        layer.bias = nn.Parameter(layer.bias.detach() + layer.weight.detach()[:, gone] @ mean[gone])
        layer.weight, layer.in_features = nn.Parameter(layer.weight.detach()[:, kept].clone()), len(kept)
    return student
