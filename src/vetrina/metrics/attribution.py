"""Which answer an event follows: it names the answer, and what it is about was shown there."""

from collections.abc import Container, Mapping
from typing import Any

ATTRIBUTED_EVENT_TYPES = frozenset({"click", "cart", "purchase"})


def attributed_request(event: Mapping[str, Any], products_by_request: Mapping[str, Container[str]]) -> str | None:
    """The request id that ``event`` follows, or None. ``shown`` gives the products of each answer by request id."""
    request = event.get("request_id") or ""
    product = event.get("product_id")
    if (
        product is None
        or event.get("type") not in ATTRIBUTED_EVENT_TYPES
        or product not in products_by_request.get(request, ())
    ):
        return None
    return request
