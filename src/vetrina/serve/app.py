"""Litestar application: routes, lifespan, exception handlers."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from sqlalchemy.exc import OperationalError

from vetrina.core.errors import BadInput, Conflict, NotFound, NotReady, OtherFormat, Overloaded
from vetrina.core.version import VERSION
from vetrina.serve import admin, events, ranking
from vetrina.serve.local_server import LocalSocket, answering_locally
from vetrina.serve.service import Service
from vetrina.store.shop_folder import ShopFolder

_LOG = logging.getLogger("vetrina.serve")
_STATUS_BY_ERROR = {NotFound: 404, Conflict: 409, NotReady: 503, OtherFormat: 503, Overloaded: 503}


def create_app(folder: Path, local_socket: LocalSocket | None = None) -> Litestar:
    """The ASGI application that serves a shop.

    Args:
        folder: the shop's folder.
        local_socket: on which it answers the shop's command line, too.
    """
    shop = ShopFolder(folder)
    state = {
        "service": Service(shop),
        "local_socket": local_socket,
        "trusted_proxies": shop.settings.serve.trusted_networks(),
    }
    return Litestar(
        # Of a path's handlers the first one decides on OPTIONS.
        [admin.options, *ranking.ROUTES, *events.ROUTES, *admin.ROUTES],
        state=State(state),
        lifespan=[_lifespan],
        openapi_config=OpenAPIConfig(
            title="Vetrina",
            version=VERSION,
            use_handler_docstrings=True,
            path="/openapi",
            render_plugins=[JsonRenderPlugin()],
        ),
        exception_handlers={
            BadInput: _handle_bad_input,
            HTTPException: _handle_http_error,
            RecursionError: _handle_undecodable_body,
            UnicodeDecodeError: _handle_undecodable_body,
            OperationalError: _handle_store_error,
            Exception: _handle_unexpected_error,
        },
        logging_config=None,
    )


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.start()
    async with answering_locally(app.state.local_socket, service):
        yield
    service.stop()


def _handle_bad_input(request: Request[Any, Any, Any], error: BadInput) -> Response[dict[str, str]]:
    status = _STATUS_BY_ERROR.get(type(error), 400)
    response = _error_response(request, status, str(error))
    if isinstance(error, NotReady) and error.ready_in_seconds is not None:
        response.headers["retry-after"] = str(ceil(error.ready_in_seconds))
    return response


def _handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    problems = []
    if isinstance(error.extra, list):
        for problem in error.extra:
            if isinstance(problem, dict):
                problems.append(f"{problem.get('key', 'body')}: {problem['message']}")
    text = "; ".join(problems)
    if not text:
        text = error.detail
    response = _error_response(request, error.status_code, text)
    response.headers.update(error.headers or {})  # Allow of a 405
    return response


def _handle_undecodable_body(request: Request[Any, Any, Any], _: Exception) -> Response[dict[str, str]]:
    """Of JSON that is nested too deep, or that is no UTF-8."""
    return _error_response(request, 400, "the body: cannot be read; send JSON in UTF-8, nested as /schema shows it")


def _handle_store_error(request: Request[Any, Any, Any], error: OperationalError) -> Response[dict[str, str]]:
    _LOG.error("%s %s: the store: %s", request.method, request.url.path, error.orig)
    text = f"store: {error.orig}; nothing was stored, send it again once there is room"
    return _error_response(request, 503, text)


def _handle_unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error_response(request, 500, "the request failed; the log of the server says why")


def _error_response(request: Request[Any, Any, Any], status: int, text: str) -> Response[dict[str, str]]:
    service: Service = request.app.state.service
    service.error_counter.labels(str(status)).inc()
    return Response({"error": text}, status_code=status)
