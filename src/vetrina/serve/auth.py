"""Who may change something: whoever holds the shop's token."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler


def require_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Raises NotAuthorizedException without the header ``Authorization: Bearer TOKEN``."""
    given = connection.headers.get("authorization", "")
    expected = f"Bearer {connection.app.state.service.keys.token}"
    if not hmac.compare_digest(given.encode(), expected.encode()):
        detail = "this route changes something: send 'Authorization: Bearer TOKEN' (the file keys/token of the shop)"
        raise NotAuthorizedException(detail)
