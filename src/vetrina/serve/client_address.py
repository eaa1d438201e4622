"""Network address of a client."""

from typing import Any

from litestar import Request


def client_address(request: Request[Any, Any, Any]) -> str:
    """The address of the peer; empty where there is none."""
    client = request.client
    return "" if client is None else client.host
