"""Images as tensors for training: normalised, and changed at random, so that what is learnt is not the photo."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vetrina.models.image import decode
from vetrina.models.image.decode import Pixels, decoded

__all__ = ["Pixels", "augmented", "decoded", "normalised"]
_SMALLEST, _STRETCH, _TURN, _BRIGHT, _TINT = 0.6, 0.2, 0.15, 0.25, 0.15


def normalised(pixels: Pixels | Sequence[Pixels]) -> Tensor:
    """(n, 3, size, size) float32 about -1 to 1."""
    return torch.from_numpy(decode.normalised(pixels)).contiguous(memory_format=torch.channels_last)


def augmented(pixels: Pixels, rng: np.random.Generator) -> Tensor:
    """``normalised`` pictures cut, stretched, turned, mirrored, and in another light."""
    found, n = normalised(pixels), len(pixels)
    scale, stretch = np.sqrt(rng.uniform(_SMALLEST, 1.0, n)), np.exp(rng.uniform(-_STRETCH, _STRETCH, n) / 2)
    wide, high = np.minimum(scale * stretch, 1.0), np.minimum(scale / stretch, 1.0)
    mirror, turn = np.where(rng.random(n) < 0.5, -1.0, 1.0), rng.uniform(-_TURN, _TURN, n)
    moved = np.zeros((n, 2, 3), np.float32)
    moved[:, 0, 0], moved[:, 0, 1] = wide * mirror * np.cos(turn), -high * np.sin(turn)
    moved[:, 1, 0], moved[:, 1, 1] = wide * mirror * np.sin(turn), high * np.cos(turn)
    moved[:, 0, 2], moved[:, 1, 2] = rng.uniform(-1, 1, n) * (1 - wide), rng.uniform(-1, 1, n) * (1 - high)
    grid = functional.affine_grid(torch.from_numpy(moved), list(found.shape), align_corners=False)
    cut = functional.grid_sample(found, grid, padding_mode="reflection", align_corners=False)
    light = torch.from_numpy(rng.uniform(1 - _BRIGHT, 1 + _BRIGHT, (n, 1, 1, 1)).astype(np.float32))
    tint = torch.from_numpy(rng.uniform(-_TINT, _TINT, (n, 3, 1, 1)).astype(np.float32))
    return (cut * light + tint).contiguous(memory_format=torch.channels_last)
