"""Vetrina: a shop window that trains, judges and releases its own models.

``Shop`` is the whole Python API; it is loaded on first use, so that serving never pays for training.
"""

import os
from typing import TYPE_CHECKING, Any

from vetrina.core.version import VERSION as __version__

if TYPE_CHECKING:
    from vetrina.api.shop import Shop

__all__ = ["Shop", "__version__"]

# ONNX Runtime from 1.29 on reports sessions to its maker unless this is set before it is imported (Privacy.md in its package).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name == "Shop":
        from vetrina.api.shop import Shop

        return Shop
    raise AttributeError(f"module 'vetrina' has no attribute {name!r}")
