"""Litestar application: routes, lifespan, exception handlers."""

import logging
from collections.abc import AsyncIterator
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
from sqlalchemy.exc import TimeoutError as NoConnection

from vetrina.core.errors import BadInput, Conflict, NotFound, NotReady, OtherFormat, Overloaded, describe_cause
from vetrina.core.log_format import escape
from vetrina.core.version import VERSION
from vetrina.serve import admin, events, ranking
from vetrina.serve.local_server import LocalSocket, answering_locally
from vetrina.serve.request_checks import REQUEST_ID_HEADER, request_checks
from vetrina.serve.service import Service
from vetrina.store.shop_folder import ShopFolder

_LOG = logging.getLogger("vetrina.serve")
_STATUS_BY_ERROR = {NotFound: 404, Conflict: 409, NotReady: 503, OtherFormat: 503, Overloaded: 503}
_CLIENT_GONE = "client disconnected prematurely"  # Litestar says so with status 500, as if it were the server's fault
_STORE_RETRY_SECONDS = 5
_MAX_BODY_BYTES = 10_000_000
_PREFLIGHT_SECONDS = 600  # how long a browser may remember what another origin is allowed


def create_app(folder: Path, local_socket: LocalSocket | None = None) -> Litestar:
    """The ASGI application that serves a shop.

    Args:
        folder: the shop's folder.
        local_socket: on which it answers the shop's command line, too.
    """
    shop_folder = ShopFolder(folder)
    settings = shop_folder.settings.serve
    state = {
        "service": Service(shop_folder),
        "local_socket": local_socket,
        "trusted_proxies": settings.trusted_networks(),
    }
    return Litestar(
        [*ranking.ROUTES, *events.ROUTES, *admin.ROUTES],
        state=State(state),
        lifespan=[_lifespan],
        middleware=[request_checks(settings.hosts)],
        cors_config=_cors_config(settings.origins),
        request_max_body_size=_MAX_BODY_BYTES,
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
            NoConnection: _handle_store_error,
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
    if error.detail == _CLIENT_GONE:
        return _error_response(request, 400, "the body did not arrive whole; send the request again")
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
    # What the driver says may hold addresses, names and values: neither the client nor the log gets it.
    cause = describe_cause(getattr(error, "orig", None) or error)
    _log(request, 503, f"the store does not answer ({cause})")
    text = "store: it cannot be reached or written now; nothing was stored, send it again"
    response = _error_response(request, 503, text)
    response.headers["retry-after"] = str(_STORE_RETRY_SECONDS)
    return response


def _handle_unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _log(request, 500, "failed", error)
    return _error_response(request, 500, "the request failed; the log of the server says why")


def _log(request: Request[Any, Any, Any], status: int, text: str, error: Exception | None = None) -> None:
    path = request.scope["path"]
    ecs = {"http.request.method": request.method, "url.path": escape(path), "http.response.status_code": status}
    _LOG.error("%s %s: %s", request.method, escape(path), text, exc_info=error, extra={"ecs": ecs})


def _error_response(request: Request[Any, Any, Any], status: int, text: str) -> Response[dict[str, str]]:
    service: Service = request.app.state.service
    service.error_counter.labels(str(status)).inc()
    return Response({"error": text}, status_code=status)


def _cors_config(origins: tuple[str, ...]) -> CORSConfig | None:
    """What pages of other origins may do; nothing where none is named."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", REQUEST_ID_HEADER],
        expose_headers=[REQUEST_ID_HEADER, "retry-after"],
        max_age=_PREFLIGHT_SECONDS,
    )
