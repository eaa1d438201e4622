"""Bearer-token authentication of changing routes."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler


def require_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A Litestar guard that lets requests with the shop's token pass.

    Raises:
        NotAuthorizedException: the header ``Authorization: Bearer TOKEN`` is missing or has another token.
    """
    sent = connection.headers.get("authorization", "")
    expected = f"Bearer {connection.app.state.service.keys.api_token}"
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        detail = "this route changes something: send 'Authorization: Bearer TOKEN' (the file keys/token of the shop)"
        raise NotAuthorizedException(detail)
