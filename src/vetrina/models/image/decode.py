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


def normalised(pixels: Pixels | Sequence[Pixels]) -> Floats:
    """(n, 3, size, size) float32 about -1 to 1, a view of memory with channels last."""
    stacked = np.ascontiguousarray(pixels).astype(np.float32)
    return ((stacked - _MEAN) / _SPREAD).transpose(0, 3, 1, 2)
