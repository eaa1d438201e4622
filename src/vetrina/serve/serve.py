"""Serving stage: runs the application on a socket until stopped."""

import errno
import functools
import gc
import resource
import socket
from pathlib import Path

import uvicorn

from vetrina.core.errors import BadInput
from vetrina.core.settings import ServeSettings
from vetrina.serve.app import create_app
from vetrina.serve.http.eager_server import EagerServer
from vetrina.serve.http.protocol import BoundedHttpProtocol
from vetrina.serve.http.tls import ServerCertificate
from vetrina.serve.local.server import bind_local_socket

_BACKLOG = 2_048  # connections that may wait to be accepted
_MAX_CONNECTIONS = 8_000
_OTHER_FILES = 256  # that the process opens beside its connections: bundles, the store, its log
_KEEP_ALIVE_SECONDS = 75  # longer than proxies keep an idle connection, so that none is used just when it is closed
_STOP_SECONDS = 10  # that requests under way get to end when the service is stopped


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        BadInput: the port is in use or cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)  # requests before the bundles are loaded wait instead of being refused
    except OSError as error:
        sock.close()
        rule = f"cannot be opened ({error.strerror})"
        if error.errno == errno.EADDRINUSE:
            rule = "is in use"
        raise BadInput(f"{host}:{port}", rule, "choose another with --port") from None
    return sock


def load_certificate(folder: Path, settings: ServeSettings) -> ServerCertificate | None:
    """The certificate that ``[serve] tls_cert`` and ``tls_key`` name; None where they name none.

    Args:
        folder: the shop's folder, where relative paths start.
        settings: of the service.

    Raises:
        BadInput: the files cannot be used.
    """
    if not settings.tls_cert:
        return None
    return ServerCertificate(folder / settings.tls_cert, folder / settings.tls_key)


def serve(folder: Path, sock: socket.socket, certificate: ServerCertificate | None = None) -> None:
    """Serve a shop until SIGINT or SIGTERM.

    Args:
        folder: the shop's folder.
        sock: a listening socket.
        certificate: for TLS; None for plain HTTP.
    """
    app = create_app(folder, bind_local_socket(folder))
    gc.freeze()  # objects of the start live as long as the process: exclude them from garbage collections
    make_protocol = functools.partial(
        BoundedHttpProtocol, max_connections=_allow_connections(), count_refusal=app.state.service.metrics.count_error
    )
    config = uvicorn.Config(
        app,
        http=make_protocol,  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="on",
        log_config=None,  # the log of the process is configured already
        log_level="error",  # its warnings are about single requests, which anybody can cause
        access_log=False,
        # Which proxies are trusted is a setting of the shop: uvicorn would trust all that connect from this machine.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = EagerServer(config, certificate)
    app.state.service.metrics.requests_in_flight.set_function(lambda: len(server.server_state.tasks) - 1)
    server.run(sockets=[sock])


def _allow_connections() -> int:
    """How many connections may be open, after this process is allowed as many files as they need."""
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_files = _MAX_CONNECTIONS + _OTHER_FILES
    if hard_limit != resource.RLIM_INFINITY:
        n_files = min(n_files, hard_limit)
    if soft_limit != resource.RLIM_INFINITY and soft_limit < n_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, hard_limit))
    return max(n_files - _OTHER_FILES, 1)
