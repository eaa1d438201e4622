"""Bearer-token authentication of operators: routes that change something, and those that only they may read."""

import hmac
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

_FORWARDING_HEADERS = ("forwarded", "x-forwarded-for")


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
    require_token_of(connection)


def require_token_of(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Let a request pass if it carries the shop's token, for routes that need it for some requests only.

    Raises:
        NotAuthorizedException: the header ``Authorization: Bearer TOKEN`` is missing or has another token.
    """
    if not _is_token(connection, connection.headers.get("authorization", "")):
        detail = "this needs the shop's token: send 'Authorization: Bearer TOKEN' (the file keys/token of the shop)"
        raise NotAuthorizedException(detail)


def require_token_from_elsewhere(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A Litestar guard for metrics: whoever collects them on this machine needs no token.

    Raises:
        NotAuthorizedException: the request comes from another machine, or through a proxy, without the shop's token.
    """
    if not is_from_this_machine(connection):
        require_token_of(connection)


def is_from_this_machine(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the client itself is on loopback. A request that a proxy passed on is not: its client is elsewhere."""
    is_passed_on = any(name in connection.headers for name in _FORWARDING_HEADERS)
    if is_passed_on or connection.client is None:
        return False
    try:
        return ip_address(connection.client.host).is_loopback
    except ValueError:
        return False  # the name of a client that is no address


def _is_token(connection: ASGIConnection[Any, Any, Any, Any], sent: str) -> bool:
    expected = f"Bearer {connection.app.state.service.keys.api_token}"
    return hmac.compare_digest(sent.encode(), expected.encode())
