"""Socket in the shop's folder on which the service answers the shop's own command line.

A query on it is an inspection: the champion answers, nothing is logged and no release counts it. Only the user who runs the
service can connect, so that it needs no key, and nothing of it can be reached over HTTP. Whoever connects reaches the very
service of this folder: a socket whose service has ended, or runs on another machine, refuses.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput, NotReady
from vetrina.serve.answers.rank import answer_unlogged
from vetrina.serve.local.query import SOCKET_FILE, LocalQuery, LocalReply, Refusal
from vetrina.serve.released_models import to_local_items, to_request
from vetrina.serve.service import Service

_OWNER_ONLY = 0o600
_READ_SECONDS = 5.0  # how long a client may take to send its query
_LOG = logging.getLogger("vetrina.serve")


class LocalSocket:
    """A bound socket in the shop's folder. It replaces that of an earlier service."""

    def __init__(self, path: Path) -> None:
        """Binds the socket; nobody can connect before it listens.

        Args:
            path: the file of the socket; its folder is created.

        Raises:
            OSError: the folder cannot be written, or its file system has no sockets.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The address of a socket has at most 100 bytes or so, and many a path is longer: its folder is entered.
        with contextlib.chdir(path.parent):
            self.socket.bind(path.name)
        path.chmod(_OWNER_ONLY)
        self._inode = path.stat().st_ino

    def remove(self) -> None:
        """Delete the file, unless a later service has replaced it."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def bind_local_socket(shop_dir: Path) -> LocalSocket | None:
    """The socket of a shop, to be bound before threads start; None, with a warning, where there cannot be one.

    The command line then opens the bundles itself.
    """
    path = shop_dir / SOCKET_FILE
    try:
        return LocalSocket(path)
    except OSError as error:
        _LOG.warning("%s: %s; the command line opens the bundles itself", path, error.strerror or error)
        return None


@contextlib.asynccontextmanager
async def answering_locally(local_socket: LocalSocket | None, service: Service) -> AsyncIterator[None]:
    """Answer queries on the socket within the context, and delete its file at the end.

    Args:
        local_socket: the bound socket; None for no socket.
        service: answers the queries.
    """
    if local_socket is None:
        yield
        return

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _handle_connection(service, reader, writer)

    server = await asyncio.start_unix_server(handle, sock=local_socket.socket)
    try:
        yield
    finally:
        local_socket.remove()
        server.close()


async def _handle_connection(service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one query. Where there is no answer, the connection ends without one, and the client opens the bundle."""
    try:
        query = await _read_query(reader)
        if query is not None:
            writer.write(await _reply(service, query))
    finally:
        writer.close()  # once all is written


async def _read_query(reader: asyncio.StreamReader) -> LocalQuery | None:
    """The query; None from a client that is late, went away, or is of another version of Vetrina."""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            line = await reader.readline()
        return msgspec.json.decode(line, type=LocalQuery)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        _LOG.debug("a local query cannot be read: %s", error)
        return None


async def _reply(service: Service, query: LocalQuery) -> bytes:
    """The champion's answer, or why the query is refused; empty where nothing serves.

    Empty, too, where clicks are paid for: its spend ledger counts what visitors see.
    """
    if query.scenario in service.charging_scenarios:
        return b""
    try:
        answer = await answer_unlogged(service, query.scenario, to_request(query, service.keys))
    except NotReady:
        return b""
    except BadInput as error:
        refusal = Refusal(error.value, error.rule, error.way_out)
        return msgspec.json.encode(LocalReply([], refusal))
    return msgspec.json.encode(LocalReply(to_local_items(answer), None))
