"""Image preprocessing for training: normalisation to tensors, and random augmentation."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vetrina.models.image import decode
from vetrina.models.image.decode import Pixels

__all__ = ["Pixels", "augment", "normalise"]
_MIN_CROP_AREA = 0.6  # of the image
_ASPECT_JITTER = 0.2  # of the logarithm of the aspect ratio
_MAX_ROTATION_RADIANS = 0.15
_CONTRAST_JITTER = 0.25
_COLOUR_JITTER = 0.15  # added to a normalised channel


def normalise(pixels: Pixels | Sequence[Pixels]) -> Tensor:
    """Images (n, size, size, 3) as a float32 tensor (n, 3, size, size) between -1 and 1, channels last in memory."""
    return torch.from_numpy(decode.normalised(pixels)).contiguous(memory_format=torch.channels_last)


def augment(pixels: Pixels, rng: np.random.Generator) -> Tensor:
    """Normalised images, randomly cropped, stretched, rotated, mirrored, and changed in contrast and colour.

    Args:
        pixels: Images (n, size, size, 3).
        rng: Source of randomness.

    Returns:
        (n, 3, size, size) float32, channels last in memory.
    """
    images = normalise(pixels)
    n_images = len(pixels)
    transforms = torch.from_numpy(_random_affine_transforms(n_images, rng))
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    cropped = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    contrast = rng.uniform(1 - _CONTRAST_JITTER, 1 + _CONTRAST_JITTER, (n_images, 1, 1, 1)).astype(np.float32)
    tint = rng.uniform(-_COLOUR_JITTER, _COLOUR_JITTER, (n_images, 3, 1, 1)).astype(np.float32)
    augmented = cropped * torch.from_numpy(contrast) + torch.from_numpy(tint)
    return augmented.contiguous(memory_format=torch.channels_last)


def _random_affine_transforms(n_images: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Matrices (n, 2, 3) from output to input coordinates, which run from -1 to 1."""
    scale = np.sqrt(rng.uniform(_MIN_CROP_AREA, 1.0, n_images))
    stretch = np.exp(rng.uniform(-_ASPECT_JITTER, _ASPECT_JITTER, n_images) / 2)
    width = np.minimum(scale * stretch, 1.0)
    height = np.minimum(scale / stretch, 1.0)
    mirror = np.where(rng.random(n_images) < 0.5, -1.0, 1.0)
    angle = rng.uniform(-_MAX_ROTATION_RADIANS, _MAX_ROTATION_RADIANS, n_images)
    horizontal_position = rng.uniform(-1, 1, n_images)
    vertical_position = rng.uniform(-1, 1, n_images)
    transforms = np.zeros((n_images, 2, 3), np.float32)
    transforms[:, 0, 0] = width * mirror * np.cos(angle)
    transforms[:, 0, 1] = -height * np.sin(angle)
    transforms[:, 0, 2] = horizontal_position * (1 - width)
    transforms[:, 1, 0] = width * mirror * np.sin(angle)
    transforms[:, 1, 1] = height * np.cos(angle)
    transforms[:, 1, 2] = vertical_position * (1 - height)
    return transforms
