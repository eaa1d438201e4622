"""In-memory index of the products that changed since a bundle was built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vetrina.core.errors import BadInput
from vetrina.core.image_vector import ImageVector
from vetrina.core.tokeniser import tokenise

FILTERS_HELP = 'use category, brand, in_stock, or {"price": {"min": 1, "max": 9}}'
_MINIMUM_SHOULD_MATCH = 0.5


@dataclass(frozen=True)
class DeltaIndex:
    """Products that changed since a bundle was built.

    Attributes:
        changed_products: New and replaced products by id.
        deleted_ids: Ids of deleted products, which must not be shown.
        images: Image embeddings by id of a changed product.
    """

    changed_products: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deleted_ids: frozenset[str] = frozenset()
    images: Mapping[str, ImageVector] = field(default_factory=dict)

    @cached_property
    def hidden_ids(self) -> frozenset[str]:
        """Ids that must not be recommended: deleted or sold out since the bundle was built."""
        return self.deleted_ids.union(p for p, body in self.changed_products.items() if not _in_stock(body))

    @cached_property
    def _tokens(self) -> dict[str, frozenset[str]]:
        return {p: frozenset(tokenise(_searchable_text(body))) for p, body in self.changed_products.items()}

    def search(self, query: str, filters: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Changed products that match at least half of the query's words and all filters, best first.

        Returns:
            (product_id, share of the query's words that the product's text contains) of each.
        """
        wanted = frozenset(tokenise(query))
        if not wanted or not self.changed_products:
            return []
        share = {p: len(wanted & held) / len(wanted) for p, held in self._tokens.items()}
        found = [
            p
            for p, s in share.items()
            if s >= _MINIMUM_SHOULD_MATCH and matches_filters(self.changed_products[p], filters)
        ]
        return [(p, share[p]) for p in sorted(found, key=lambda p: (-share[p], p))]


def matches_filters(product: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether a product matches all ``filters``, by the same rules as ``CatalogueIndex.mask``."""
    return all(_matches_filter(product, name, wanted) for name, wanted in filters.items())


def _searchable_text(body: Mapping[str, Any]) -> str:
    return " ".join(str(body.get(n) or "") for n in ("title", "category", "brand", "description", "attributes"))


def _matches_filter(product: Mapping[str, Any], name: str, allowed: Any) -> bool:
    value = product.get(name)
    if name in ("category", "brand"):
        text = str(value or "")
        return any(
            text == w or text.startswith(f"{w} > ") for w in (allowed if isinstance(allowed, list) else [allowed])
        )
    if name in ("price", "stock") and isinstance(allowed, Mapping):
        return value is not None and allowed.get("min", value) <= value <= allowed.get("max", value)
    if name == "in_stock":
        return _in_stock(product) == bool(allowed)
    raise BadInput(f"filters.{name}", "cannot be filtered so", FILTERS_HELP)


def _in_stock(product: Mapping[str, Any]) -> bool:
    """Whether a product is in stock; a product of unknown stock is."""
    stock = product.get("stock")
    return stock is None or stock > 0
