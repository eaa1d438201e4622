"""Files that are read whole when a bundle is opened: Zstandard leaves of int8 weights what they tell, and unpacks them in
milliseconds."""

import sys
from pathlib import Path

from vetrina.core.errors import Unfit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ENDING, _LEVEL = ".zst", 3  # higher levels search for repetitions, of which weights have none


def write(path: Path, data: bytes) -> None:
    """``data`` beside ``path``, whose name gets an ending. Equal input gives an equal file."""
    squeezed(path).write_bytes(zstd.compress(data, _LEVEL))


def read(path: Path) -> bytes:
    """What ``write`` was given. Raises Unfit for a broken file."""
    file = squeezed(path)
    data = file.read_bytes()
    try:
        size = zstd.get_frame_info(data).decompressed_size or 0
        # Without the length room is made bit by bit, for twice the time.
        found = zstd.ZstdDecompressor().decompress(data, max_length=size)
    except zstd.ZstdError as error:
        raise Unfit(f"{file.name} is broken ({error})") from None
    if len(found) != size:
        raise Unfit(f"{file.name} ends after {len(found):,} of {size:,} bytes")
    return found


def squeezed(path: Path) -> Path:
    """Where ``write`` puts it."""
    return path.with_name(path.name + _ENDING)
