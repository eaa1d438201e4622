"""Vetrina: a shop window that trains, judges and releases its own models.

``Shop`` is the whole Python API; it is loaded on first use, so that serving never pays for training.
"""

from typing import TYPE_CHECKING, Any

from vetrina.core.version import VERSION as __version__

if TYPE_CHECKING:
    from vetrina.api.shop import Shop

__all__ = ["Shop", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Shop":
        from vetrina.api.shop import Shop

        return Shop
    raise AttributeError(f"module 'vetrina' has no attribute {name!r}")
