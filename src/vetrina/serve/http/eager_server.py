"""Uvicorn server that accepts all waiting connections in one turn of the event loop.

On uvloop, uvicorn accepts one connection a turn. Under overload, requests on new connections then wait in the kernel, where no
limit sees them, until their clients have given up, and the service works for nobody.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

_MAX_ACCEPTS = 2_048  # in one turn of the event loop
_PAUSE_SECONDS = 1.0  # without accepting, when the process has no files or memory left for connections
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class EagerServer(uvicorn.Server):
    """Serves on listening sockets until it is told to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._connecting: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup(sockets=[])
        for listener in sockets or ():
            listener.setblocking(False)
            self._watch(listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, let requests under way end, then stop the application."""
        for listener in sockets or ():
            asyncio.get_running_loop().remove_reader(listener)
        if self._connecting:  # else these would not be told to end
            await asyncio.wait(self._connecting)
        await super().shutdown(sockets)

    def _watch(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._accept_all, listener)

    def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_MAX_ACCEPTS):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # this client has gone already
                loop.remove_reader(listener)
                loop.call_later(_PAUSE_SECONDS, self._watch, listener)
                return
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _protocol(self) -> asyncio.Protocol:
        """What uvicorn makes of each connection that it accepts itself."""
        make_protocol: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make_protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
