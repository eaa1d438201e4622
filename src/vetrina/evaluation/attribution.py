"""Attribution of clicks, carts and purchases to the ranked answer they follow.

An event follows an answer if it names the answer's request and its product was in that answer.
"""

from collections.abc import Container, Mapping

from vetrina.core.logged_events import LoggedEvent

ATTRIBUTED_EVENT_TYPES = frozenset({"click", "cart", "purchase"})


def attributed_request(event: LoggedEvent, products_by_request: Mapping[str, Container[str]]) -> str | None:
    """Return the id of the request whose answer ``event`` follows, or None.

    Args:
        event: One event of the log.
        products_by_request: The products of each answer, by request id.
    """
    if event.type not in ATTRIBUTED_EVENT_TYPES or event.product_id is None or event.request_id is None:
        return None
    if event.product_id not in products_by_request.get(event.request_id, ()):
        return None
    return event.request_id
