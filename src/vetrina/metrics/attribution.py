"""Which answer an event follows: it names the answer, and what it is about was shown there."""

from collections.abc import Container, Mapping
from typing import Any

FOLLOWS = frozenset({"click", "cart", "purchase"})


def followed(event: Mapping[str, Any], shown: Mapping[str, Container[str]]) -> str | None:
    """The request id that ``event`` follows, or None. ``shown`` gives the products of each answer by request id."""
    request, product = event.get("request_id") or "", event.get("product_id")
    if product is None or event.get("type") not in FOLLOWS or product not in shown.get(request, ()):
        return None
    return request
