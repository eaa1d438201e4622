"""The stage: run the app until someone stops it."""

import errno
import gc
import socket
from pathlib import Path

import uvicorn

from vetrina.core.errors import BadInput
from vetrina.serve.app import create_app

_BACKLOG = 2_048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadInput if the port is taken."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)  # whoever comes before the bundles are open waits instead of being refused
    except OSError as error:
        sock.close()
        rule = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise BadInput(f"{host}:{port}", rule, "choose another with --port") from None
    return sock


def serve(folder: Path, sock: socket.socket) -> None:
    """Answer on ``sock`` until SIGINT or SIGTERM."""
    app = create_app(folder)
    gc.freeze()  # what start-up made stays: collections need not look at it again
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[sock])
