"""Compression of EASE: pruned neighbours and uint8 similarities with one scale a row."""

from pathlib import Path

from vetrina.bundle.sparse_rows.write import write_compressed_rows
from vetrina.core.compression import CompressionVariant, DistillationData

_NEIGHBOUR_SHARES = (0.7, 0.5, 0.35, 0.2, 0.1)
VARIANTS = (
    CompressionVariant(("int8",)),
    *(CompressionVariant(("prune", "int8"), {"keep": share}) for share in _NEIGHBOUR_SHARES),
)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes the same files, values in a quarter and products in half of the bytes, or less.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: One of ``VARIANTS``; ``keep`` is the share of each row's neighbours.
        distillation_data: Not used.
    """
    write_compressed_rows(source, into, variant.settings.get("keep", 1.0))
