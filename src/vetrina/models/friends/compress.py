"""Compression of the followed-users scores: uint8 values with one scale a row."""

import shutil
from pathlib import Path

from vetrina.bundle.sparse_rows.write import write_compressed_rows
from vetrina.core.compression import CompressionVariant, DistillationData

VARIANTS = (CompressionVariant(("int8",)),)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes the same files, the values in a quarter of the bytes.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: The only one of ``VARIANTS``.
        distillation_data: Not used.
    """
    write_compressed_rows(source, into)
    shutil.copy(source / "users.npy", into / "users.npy")
