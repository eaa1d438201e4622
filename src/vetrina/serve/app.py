"""Litestar application: routes, lifespan, exception handlers."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime

from vetrina.core.errors import BadInput, Conflict, NotFound, NotReady, OtherFormat, Overloaded, describe_cause
from vetrina.core.logs import escaped
from vetrina.core.version import VERSION
from vetrina.serve.http.request_gate import RequestGate
from vetrina.serve.local.server import LocalSocket, answering_locally
from vetrina.serve.routes import admin, events
from vetrina.serve.routes.answers import scenario_routes
from vetrina.serve.service import Service
from vetrina.store.shop_folder import ShopFolder

_LOG = logging.getLogger("vetrina.serve")
_CLIENT_GONE = "client disconnected prematurely"  # which Litestar counts as a fault of the server, status 500
_RETRY_AFTER_SECONDS = 5  # after a failure of the store
_MAX_BODY_BYTES = 10_000_000
_STATUS_BY_ERROR = {NotFound: 404, Conflict: 409, NotReady: 503, OtherFormat: 503, Overloaded: 503}


def create_app(folder: Path, local_socket: LocalSocket | None = None) -> Litestar:
    """The ASGI application that serves a shop.

    Args:
        folder: the shop's folder.
        local_socket: on which it answers the shop's command line, too.
    """
    shop = ShopFolder(folder)
    settings = shop.settings.serve
    service = Service(shop)
    state = {
        "service": service,
        "local_socket": local_socket,
        "trusted_proxies": settings.trusted_networks(),
    }
    app = Litestar(
        # Of a path's handlers the first one decides on OPTIONS.
        [admin.options, *scenario_routes(), *events.ROUTES, *admin.ROUTES],
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
            InterfaceError: _handle_store_error,
            NoConnectionInTime: _handle_store_error,
            Exception: _handle_unexpected_error,
        },
        cors_config=_cors_config(settings.origins),
        request_max_body_size=_MAX_BODY_BYTES,
        logging_config=None,
    )
    # Around everything, so that unknown routes and methods, and the answers to preflights, are checked as well.
    app.asgi_handler = RequestGate(app.asgi_handler, settings.hosts, service.metrics.count_error)
    return app


def _cors_config(origins: Sequence[str]) -> CORSConfig | None:
    """What pages of other origins may send; None, which allows nothing, where there are no origins."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["content-type", "x-request-id"],
        expose_headers=["x-request-id", "retry-after"],
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
    if error.detail == _CLIENT_GONE:
        return _error_response(request, 400, "the body: did not arrive whole; send the request again")
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


def _handle_store_error(request: Request[Any, Any, Any], error: SQLAlchemyError) -> Response[dict[str, str]]:
    # The driver's message names hosts, users and values: neither the client nor the log gets it.
    cause = describe_cause(getattr(error, "orig", None) or error)
    _LOG.error("%s: the store does not answer (%s)", _route_of(request), cause, extra={"status": 503})
    response = _error_response(
        request, 503, "store: it cannot be reached or written now; nothing was stored, send it again"
    )
    response.headers["retry-after"] = str(_RETRY_AFTER_SECONDS)
    return response


def _handle_unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _LOG.error("%s failed", _route_of(request), exc_info=error, extra={"status": 500})
    return _error_response(request, 500, "the request: failed; the log of the server says why, under its x-request-id")


def _route_of(request: Request[Any, Any, Any]) -> str:
    """Method and path, on one line whatever the path holds."""
    return f"{request.method} {escaped(request.url.path)}"


def _error_response(request: Request[Any, Any, Any], status: int, text: str) -> Response[dict[str, str]]:
    service: Service = request.app.state.service
    service.metrics.count_error(status)
    return Response({"error": text}, status_code=status)
