"""Bearer-token authentication of changing routes."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler


def has_token(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether a request carries the shop's token; false where it carries none.

    Raises:
        NotAuthorizedException: it carries another token: its sender believes to be known and must learn otherwise.
    """
    sent = connection.headers.get("authorization", "")
    if not sent.lower().startswith("bearer "):
        return False
    if not _is_token(connection, sent):
        raise NotAuthorizedException("the token is wrong: send that of the file keys/token of the shop, or none")
    return True


def require_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A Litestar guard that lets requests with the shop's token pass.

    Raises:
        NotAuthorizedException: the header ``Authorization: Bearer TOKEN`` is missing or has another token.
    """
    if not _is_token(connection, connection.headers.get("authorization", "")):
        detail = "this route changes something: send 'Authorization: Bearer TOKEN' (the file keys/token of the shop)"
        raise NotAuthorizedException(detail)


def _is_token(connection: ASGIConnection[Any, Any, Any, Any], sent: str) -> bool:
    expected = f"Bearer {connection.app.state.service.keys.api_token}"
    return hmac.compare_digest(sent.encode(), expected.encode())
