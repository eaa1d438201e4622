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
from vetrina.models.image.network import Whole
from vetrina.models.image.pictures import Pixels, augmented

SIZE, FEATURES = 128, 512
_BATCH, _RATE, _HEAD, _DECAY, _WARM = 32, 5e-4, 2.0, 0.02, 0.15


def taught(
    teacher: Whole,
    pixels: Pixels,
    found: NDArray[np.float32],
    epochs: int,
    seed: int,
    advance: Callable[[], None],
) -> Whole:
    """A student for pictures of SIZE, taught with ``pixels`` (n, size, size, 3) whose features are ``found`` (n, width)."""
    torch.manual_seed(seed)
    rng, student = np.random.default_rng(seed), _narrowed(teacher, found)
    teacher.requires_grad_(False).eval()
    student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ends = [*student.head.parameters(), *student.turn.parameters()]
    groups = [{"params": student.backbone.parameters(), "lr": _RATE}, {"params": ends, "lr": _HEAD * _RATE}]
    optimiser = torch.optim.AdamW(groups, weight_decay=_DECAY)
    batches = -(-len(pixels) // _BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [_RATE, _HEAD * _RATE], max(1, epochs * batches), pct_start=_WARM
    )
    for _ in range(epochs):
        student.train()
        for rows in np.array_split(rng.permutation(len(pixels)), batches):
            shown = augmented(pixels[rows], rng)
            with torch.no_grad():
                seen, told = teacher.said(shown)
            vector, logits = student.said(smaller(shown))
            loss = 1 - functional.cosine_similarity(vector, seen).mean() + listwise_kl(logits, told)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            rates.step()
        advance()
    return student.eval()


def smaller(shown: Tensor) -> Tensor:
    """(n, 3, SIZE, SIZE) of ``normalised`` pictures of any size."""
    found = functional.interpolate(shown, (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
    return found.contiguous(memory_format=torch.channels_last)


def _narrowed(teacher: Whole, found: NDArray[np.float32]) -> Whole:
    """The teacher with the FEATURES that matter most, by their spread times what is made of them; what the others say in the mean
    moves into the biases."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    made = sum(layer.weight.detach().square().sum(0).numpy() for layer in (teacher.head, teacher.turn))
    kept, gone = np.split(np.argsort(-found.std(0) * np.sqrt(made)), [FEATURES])
    kept, gone = torch.from_numpy(np.sort(kept)), torch.from_numpy(gone)
    mean = torch.from_numpy(found.mean(0))
    conv, norm = student.backbone.head[0], student.backbone.head[1]  # pyright: ignore[reportIndexIssue]
    conv.weight, conv.out_channels = nn.Parameter(conv.weight.detach()[kept].clone()), len(kept)
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[kept].clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[kept].clone())
    norm.num_features = student.backbone.width = len(kept)
    for layer in (student.head, student.turn):
        layer.bias = nn.Parameter(layer.bias.detach() + layer.weight.detach()[:, gone] @ mean[gone])
        layer.weight, layer.in_features = nn.Parameter(layer.weight.detach()[:, kept].clone()), len(kept)
    return student
