"""4 or 8 bits, as for all sequence networks."""

from pathlib import Path

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.layers.next_item import sequence_quantisation

VARIANTS = (CompressionVariant(("int4",)), CompressionVariant(("int8",)))


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """An eighth or a quarter of the bytes."""
    sequence_quantisation.quantise(source, into, bits=4 if variant == VARIANTS[0] else 8)
