"""Child process that decodes images: started by ``decode.py``, one for many images.

Images come from others, so their parsers run without files, with little memory and little time. A request is the length of the
image, the side of the square that it is stretched to, and the image. The answer is one byte, 1 for an image, and its RGB pixels.
"""

import io
import resource
import struct
import sys
import time
from typing import BinaryIO

from PIL import Image

REQUEST = struct.Struct("<IH")  # bytes of the image, pixels of a side
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 16_000_000  # of an encoded image; a larger one is refused
_MAX_MEMORY_BYTES = 1 << 30  # address space of the process
_MAX_CPU_SECONDS = 10  # of one image
_NOTHING = (0, 0)


def main() -> None:
    """Answer requests until there are no more."""
    _load_formats()
    _limit_resources()
    requests = sys.stdin.buffer
    answers = sys.stdout.buffer
    while header := requests.read(REQUEST.size):
        length, size = REQUEST.unpack(header)
        _limit_time()
        _answer(requests.read(length), size, answers)


def _answer(content: bytes, size: int, answers: BinaryIO) -> None:
    try:
        pixels = _decode(content, size)
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything on damaged files
        pixels = b""
    answers.write(bytes([bool(pixels)]) + pixels)
    answers.flush()


def _decode(content: bytes, size: int) -> bytes:
    """RGB pixels of the image, stretched to a square; empty for one with too many pixels."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            return b""
        return _opaque(image).resize((size, size), Image.Resampling.BICUBIC).tobytes()


def _opaque(image: Image.Image) -> Image.Image:
    """The image in RGB; transparency becomes white, as in a shop's catalogue."""
    if "A" not in image.getbands():
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    background = Image.new("RGBA", with_alpha.size, "white")
    return Image.alpha_composite(background, with_alpha).convert("RGB")


def _load_formats() -> None:
    """Load what decoding needs from files, by decoding an image of each format."""
    for image_format in FORMATS:
        encoded = io.BytesIO()
        Image.new("RGB", (2, 2)).save(encoded, image_format)
        _decode(encoded.getvalue(), 2)


def _limit_resources() -> None:
    limits = {
        resource.RLIMIT_NOFILE: _NOTHING,
        resource.RLIMIT_FSIZE: _NOTHING,
        resource.RLIMIT_CORE: _NOTHING,
        resource.RLIMIT_AS: (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES),
    }
    for limit, values in limits.items():
        try:
            resource.setrlimit(limit, values)
        except (OSError, ValueError):
            continue  # macOS knows the limit of memory, but refuses to set it


def _limit_time() -> None:
    """Let the process use so much CPU time more; the kernel ends it afterwards."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_CPU)
    seconds = int(time.process_time()) + _MAX_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard_limit))


if __name__ == "__main__":
    main()
