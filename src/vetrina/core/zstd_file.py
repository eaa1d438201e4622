"""Files that are read whole when a bundle is opened: Zstandard leaves of int8 weights what they tell, and unpacks them in
milliseconds."""

import sys
from pathlib import Path

from vetrina.core.errors import UnusableVariant

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# higher levels search for repetitions, of which weights have none
_SUFFIX = ".zst"
_LEVEL = 3


def write(path: Path, data: bytes) -> None:
    """``data`` beside ``path``, whose name gets an ending. Equal input gives an equal file."""
    compressed_path(path).write_bytes(zstd.compress(data, _LEVEL))


def read(path: Path) -> bytes:
    """What ``write`` was given. Raises Unfit for a broken file."""
    file = compressed_path(path)
    data = file.read_bytes()
    try:
        size = zstd.get_frame_info(data).decompressed_size or 0
        # Without the length room is made bit by bit, for twice the time.
        found = zstd.ZstdDecompressor().decompress(data, max_length=size)
    except zstd.ZstdError as error:
        raise UnusableVariant(f"{file.name} is broken ({error})") from None
    if len(found) != size:
        raise UnusableVariant(f"{file.name} ends after {len(found):,} of {size:,} bytes")
    return found


def compressed_path(path: Path) -> Path:
    """Where ``write`` puts it."""
    return path.with_name(path.name + _SUFFIX)
