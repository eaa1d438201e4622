"""In-memory index of the products that changed since a bundle was built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vetrina.core.filters import Filters, is_in_stock
from vetrina.core.image_vector import ImageVector
from vetrina.core.tokeniser import tokenise

_MINIMUM_SHOULD_MATCH = 0.5


@dataclass(frozen=True)
class DeltaIndex:
    """Products that changed since a bundle was built.

    Attributes:
        changed_products: New and replaced products by id.
        deleted_ids: Ids of deleted products, which must not be shown.
        images: Image embeddings by id of a changed product.
    """

    changed_products: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    deleted_ids: frozenset[str] = frozenset()
    images: Mapping[str, ImageVector] = field(default_factory=dict[str, ImageVector])

    @cached_property
    def hidden_ids(self) -> frozenset[str]:
        """Ids that must not be recommended: deleted or sold out since the bundle was built."""
        return self.deleted_ids.union(p for p, body in self.changed_products.items() if not is_in_stock(body))

    @cached_property
    def _tokens(self) -> dict[str, frozenset[str]]:
        return {p: frozenset(tokenise(_searchable_text(body))) for p, body in self.changed_products.items()}

    def search(self, query: str, filters: Filters) -> list[tuple[str, float]]:
        """Changed products that match at least half of the query's words and all filters, best first.

        Returns:
            (product_id, share of the query's words that the product's text contains) of each.
        """
        wanted = frozenset(tokenise(query))
        if not wanted or not self.changed_products:
            return []
        share = {p: len(wanted & held) / len(wanted) for p, held in self._tokens.items()}
        found = [p for p, s in share.items() if s >= _MINIMUM_SHOULD_MATCH and filters.match(self.changed_products[p])]
        return [(p, share[p]) for p in sorted(found, key=lambda p: (-share[p], p))]


def _searchable_text(body: Mapping[str, Any]) -> str:
    return " ".join(str(body.get(n) or "") for n in ("title", "category", "brand", "description", "attributes"))
