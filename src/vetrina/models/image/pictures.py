"""Pictures as numbers: decoded, resized, normalised; in training changed at random, so that what is learnt is not the photo."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

Pixels = NDArray[np.uint8]
_MEAN, _SPREAD = 127.0, 128.0  # as EfficientNet-Lite was trained (Google, EfficientNet-Lite, 2020)
_SMALLEST, _STRETCH, _TURN, _BRIGHT, _TINT = 0.6, 0.2, 0.15, 0.25, 0.15
_MOST_PIXELS = 50_000_000


def decoded(content: bytes | None, size: int) -> Pixels | None:
    """(size, size, 3) of a picture in whatever format, stretched to a square; None for what is no picture."""
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            whole = picture.convert("RGBA") if "A" in picture.getbands() else picture.convert("RGB")
            if whole.mode == "RGBA":  # what is not there is white, as in a shop's catalogue
                whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
            return np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC), np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def normalised(pixels: Pixels | Sequence[Pixels]) -> Tensor:
    """(n, 3, size, size) float32 about -1 to 1."""
    stacked = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    return ((stacked - _MEAN) / _SPREAD).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


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
