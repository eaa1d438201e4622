"""Makes models small, and keeps a step only if validation shows that it costs nothing that matters."""

from vetrina.compress.compress import CompressionResult, compress, least_aggressive_variant

__all__ = ["CompressionResult", "compress", "least_aggressive_variant"]
