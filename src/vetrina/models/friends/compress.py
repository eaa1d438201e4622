"""uint8 scores with one scale a listener."""

import shutil
from pathlib import Path

from vetrina.retrieval.neighbours import quantize

STEP = "int8"


def compress(source: Path, into: Path) -> str:
    """The same files, the values in a quarter of the bytes."""
    quantize(source, into)
    for name in ("users.npy", "products.npy"):
        shutil.copy(source / name, into / name)
    return STEP
