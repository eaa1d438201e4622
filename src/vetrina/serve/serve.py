"""Serving stage: runs the application on a socket until stopped."""

import errno
import gc
import socket
from pathlib import Path

import uvicorn

from vetrina.core.errors import BadInput
from vetrina.serve.app import create_app
from vetrina.serve.eager_server import EagerServer
from vetrina.serve.local_server import bind_local_socket

_BACKLOG = 2_048  # connections that may wait to be accepted


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
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    EagerServer(config).run(sockets=[sock])
