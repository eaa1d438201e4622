"""Files that are read whole when a bundle is opened: Zstandard leaves of int8 weights what they tell, and unpacks them in
milliseconds."""

import sys
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ENDING, _LEVEL = ".zst", 3  # higher levels search for repetitions, of which weights have none


def write(path: Path, data: bytes) -> None:
    """``data`` beside ``path``, whose name gets an ending. Equal input gives an equal file."""
    squeezed(path).write_bytes(zstd.compress(data, _LEVEL))


def read(path: Path) -> bytes:
    """What ``write`` was given, or the file itself in a bundle from before."""
    file = squeezed(path)
    return zstd.decompress(file.read_bytes()) if file.exists() else path.read_bytes()


def squeezed(path: Path) -> Path:
    """Where ``write`` puts it."""
    return path.with_name(path.name + _ENDING)
