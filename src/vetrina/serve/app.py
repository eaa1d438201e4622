"""Puts the routes together: one service, its life, and what a refusal looks like."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from sqlalchemy.exc import OperationalError

from vetrina.core.errors import BadInput, Conflict, NotFound, NotReady, OtherFormat
from vetrina.core.version import VERSION
from vetrina.serve import admin, events, ranking
from vetrina.serve.service import Service
from vetrina.store.shop_folder import ShopFolder

_LOG = logging.getLogger("vetrina.serve")
_STATUS_BY_ERROR = {NotFound: 404, Conflict: 409, NotReady: 503, OtherFormat: 503}


def create_app(folder: Path) -> Litestar:
    """The ASGI app of one shop."""
    return Litestar(
        [*ranking.ROUTES, *events.ROUTES, *admin.ROUTES],
        state=State({"service": Service(ShopFolder(folder))}),
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
            OperationalError: _handle_store_error,
            Exception: _handle_unexpected_error,
        },
        logging_config=None,
    )


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.start()
    yield
    service.stop()


def _handle_bad_input(request: Request[Any, Any, Any], error: BadInput) -> Response[dict[str, str]]:
    return _error_response(request, _STATUS_BY_ERROR.get(type(error), 400), str(error))


def _handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    extra = error.extra if isinstance(error.extra, list) else []
    details = "; ".join(f"{e.get('key', 'body')}: {e['message']}" for e in extra if isinstance(e, dict))
    return _error_response(request, error.status_code, details or error.detail)


def _handle_store_error(request: Request[Any, Any, Any], error: OperationalError) -> Response[dict[str, str]]:
    _LOG.error("%s %s: the store: %s", request.method, request.url.path, error.orig)
    return _error_response(request, 503, f"store: {error.orig}; nothing was taken, send it again once there is room")


def _handle_unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error_response(request, 500, "the answer failed; the log says why")


def _error_response(request: Request[Any, Any, Any], status: int, text: str) -> Response[dict[str, str]]:
    request.app.state.service.error_counter.labels(str(status)).inc()
    return Response({"error": text}, status_code=status)
