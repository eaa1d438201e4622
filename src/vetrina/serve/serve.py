"""Serving stage: runs the application on a socket until stopped."""

import errno
import gc
import socket
from pathlib import Path

import uvicorn

from vetrina.core.errors import BadInput
from vetrina.serve.app import create_app
from vetrina.serve.http_protocol import bounded_protocol
from vetrina.serve.local_server import bind_local_socket
from vetrina.store.shop_folder import ShopFolder

_BACKLOG = 2_048  # connections that may wait to be accepted
_KEEP_ALIVE_SECONDS = 75  # longer than proxies keep a connection, which then never use one that has just been closed
_STOP_SECONDS = 10  # how long requests under way are waited for at the end


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


def serve(folder: Path, sock: socket.socket) -> None:
    """Serve the shop in ``folder`` on a listening socket until SIGINT or SIGTERM."""
    app = create_app(folder, bind_local_socket(folder))
    gc.freeze()  # objects of the start live as long as the process: exclude them from garbage collections
    limit = ShopFolder(folder).settings.serve.max_concurrent_requests
    config = uvicorn.Config(
        app,
        http=bounded_protocol(limit),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # which proxies are trusted is a setting of the shop
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[sock])
