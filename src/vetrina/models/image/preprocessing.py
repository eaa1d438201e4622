"""Images as tensors for training: normalised, and changed at random, so that what is learnt is not the photo."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vetrina.models.image import decode
from vetrina.models.image.decode import Pixels, decoded

__all__ = ["Pixels", "augment", "decoded", "normalise"]
_MIN_CROP_AREA = 0.6
_ASPECT_JITTER = 0.2
_MAX_ROTATION_RADIANS = 0.15
_CONTRAST_JITTER = 0.25
_COLOUR_JITTER = 0.15


def normalise(pixels: Pixels | Sequence[Pixels]) -> Tensor:
    """(n, 3, size, size) float32 about -1 to 1."""
    return torch.from_numpy(decode.normalised(pixels)).contiguous(memory_format=torch.channels_last)


def augment(pixels: Pixels, rng: np.random.Generator) -> Tensor:
    """``normalised`` pictures cut, stretched, turned, mirrored, and in another light."""
    found = normalise(pixels)
    n = len(pixels)
    scale = np.sqrt(rng.uniform(_MIN_CROP_AREA, 1.0, n))
    stretch = np.exp(rng.uniform(-_ASPECT_JITTER, _ASPECT_JITTER, n) / 2)
    wide = np.minimum(scale * stretch, 1.0)
    high = np.minimum(scale / stretch, 1.0)
    mirror = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    turn = rng.uniform(-_MAX_ROTATION_RADIANS, _MAX_ROTATION_RADIANS, n)
    moved = np.zeros((n, 2, 3), np.float32)
    moved[:, 0, 0], moved[:, 0, 1] = wide * mirror * np.cos(turn), -high * np.sin(turn)
    moved[:, 1, 0], moved[:, 1, 1] = wide * mirror * np.sin(turn), high * np.cos(turn)
    moved[:, 0, 2], moved[:, 1, 2] = rng.uniform(-1, 1, n) * (1 - wide), rng.uniform(-1, 1, n) * (1 - high)
    grid = functional.affine_grid(torch.from_numpy(moved), list(found.shape), align_corners=False)
    cut = functional.grid_sample(found, grid, padding_mode="reflection", align_corners=False)
    light = torch.from_numpy(rng.uniform(1 - _CONTRAST_JITTER, 1 + _CONTRAST_JITTER, (n, 1, 1, 1)).astype(np.float32))
    tint = torch.from_numpy(rng.uniform(-_COLOUR_JITTER, _COLOUR_JITTER, (n, 3, 1, 1)).astype(np.float32))
    return (cut * light + tint).contiguous(memory_format=torch.channels_last)
