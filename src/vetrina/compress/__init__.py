"""Makes models small, and keeps a step only if validation shows that it costs nothing that matters."""

from vetrina.compress.compress import Compressed, compress, gentlest

__all__ = ["Compressed", "compress", "gentlest"]
