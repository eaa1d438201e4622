"""uint8 co-occurrences with one scale a row, of all neighbours or of the nearest."""

import shutil
from pathlib import Path

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.retrieval.neighbours import pack

VARIANTS = (
    *(CompressionVariant(("prune", "int8"), {"keep": keep}) for keep in (0.1, 0.2, 0.35, 0.5, 0.7)),
    CompressionVariant(("int8",)),
)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """The same files, values in a quarter and products in half of the bytes, or less."""
    pack(source, into, variant.settings.get("keep", 1.0))
    shutil.copy(source / "settings.json", into / "settings.json")
