"""Compression stage: keeps a smaller variant of a model only if validation shows no relevant loss."""

from vetrina.compress.compress import CompressionResult, compress, least_aggressive_variant

__all__ = ["CompressionResult", "compress", "least_aggressive_variant"]
