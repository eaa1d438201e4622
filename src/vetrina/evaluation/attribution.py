"""Attribution of clicks, carts and purchases to the ranked answer they follow.

An event follows an answer if it names the answer's request and its product was in that answer.
"""

from collections.abc import Container, Mapping
from typing import Any

ATTRIBUTED_EVENT_TYPES = frozenset({"click", "cart", "purchase"})


def attributed_request(event: Mapping[str, Any], products_by_request: Mapping[str, Container[str]]) -> str | None:
    """Return the id of the request whose answer ``event`` follows, or None.

    Args:
        event: One event of the log with ``type``, ``product_id`` and ``request_id``.
        products_by_request: The products of each answer, by request id.
    """
    if event.get("type") not in ATTRIBUTED_EVENT_TYPES:
        return None
    product = event.get("product_id")
    if product is None:
        return None
    request = event.get("request_id") or ""
    if product not in products_by_request.get(request, ()):
        return None
    return request
