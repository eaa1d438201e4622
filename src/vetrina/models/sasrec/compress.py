"""Compression of SASRec, as of all sequence models: item table in 4 or 8 bits, encoder in int8."""

from vetrina.nn.next_item.sequence_quantisation import VARIANTS, compress

__all__ = ["VARIANTS", "compress"]
