"""Client of the shop's running service, for the command line.

It loads neither numpy nor the store, so that an answer costs little more than the start of Python.
"""

import contextlib
import socket
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput
from vetrina.serve.local.query import SOCKET_FILE, LocalItem, LocalQuery, LocalReply

_TIMEOUT_SECONDS = 1.5  # of each step: connecting, sending, waiting for the answer


def query_service(shop_dir: Path, query: LocalQuery) -> list[LocalItem] | None:
    """Items of the running service's answer, best first; None where no service answers in time.

    Args:
        shop_dir: the shop's folder, an absolute path.
        query: the query.

    Raises:
        BadInput: the service refuses the query.
    """
    request = msgspec.json.encode(query) + b"\n"
    try:
        line = _exchange(shop_dir / SOCKET_FILE, request)
    except OSError:  # nobody listens (any more), or the answer takes too long
        return None
    try:
        reply = msgspec.json.decode(line, type=LocalReply)
    except msgspec.DecodeError:  # the service could not answer, or is of another version of Vetrina
        return None
    if reply.refusal is not None:
        raise BadInput(reply.refusal.value, reply.refusal.rule, reply.refusal.way_out)
    return reply.items


def _exchange(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        # The address of a socket has at most 100 bytes or so, and many a path is longer: its folder is entered.
        with contextlib.chdir(path.parent):
            connection.connect(path.name)
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            return stream.read()
