"""Image decoding and normalisation, one code for training and serving. NumPy and Pillow only."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vetrina.core.types import Floats

Pixels = NDArray[np.uint8]
_MEAN = 127.0  # of 0 to 255, as EfficientNet-Lite was trained (Google, EfficientNet-Lite, 2020)
_SPREAD = 128.0
_MAX_PIXELS = 50_000_000  # of an encoded image; a larger one is refused


def decoded(content: bytes | None, size: int) -> Pixels | None:
    """Pixels (size, size, 3) of an encoded image in any format, stretched to a square; None if it cannot be decoded."""
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            resized = _opaque(image).resize((size, size), Image.Resampling.BICUBIC)
            return np.asarray(resized, np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _opaque(image: Image.Image) -> Image.Image:
    """The image in RGB; transparency becomes white, as in a shop's catalogue."""
    if "A" not in image.getbands():
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    background = Image.new("RGBA", with_alpha.size, "white")
    return Image.alpha_composite(background, with_alpha).convert("RGB")


def normalised(pixels: Pixels | Sequence[Pixels]) -> Floats:
    """Images (n, size, size, 3) as float32 (n, 3, size, size) between -1 and 1, a view of memory with channels last."""
    stacked = np.ascontiguousarray(pixels).astype(np.float32)
    return ((stacked - _MEAN) / _SPREAD).transpose(0, 3, 1, 2)
