"""Uvicorn server that accepts all waiting connections in one turn of the event loop, with TLS where there is a certificate.

On uvloop, uvicorn accepts one connection a turn. Under overload, requests on new connections then wait in the kernel, where no
limit sees them, until their clients have given up, and the service works for nobody.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn

from vetrina.serve.http.tls import HANDSHAKE_SECONDS, RELOAD_SECONDS, ServerCertificate

_MAX_ACCEPTS = 2_048  # in one turn of the event loop
_MAX_CONNECTING = 1_024  # connections that have not agreed on a cipher yet; each has an open file
_PAUSE_SECONDS = 1.0  # without accepting, when the process has no files or memory left for connections
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class EagerServer(uvicorn.Server):
    """Serves on listening sockets until it is told to stop.

    Args:
        config: of uvicorn.
        certificate: of the service; None for HTTP without TLS.
    """

    def __init__(self, config: uvicorn.Config, certificate: ServerCertificate | None = None) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._connecting: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup(sockets=[])
        for listener in sockets or ():
            listener.setblocking(False)
            self._watch(listener)
        self._reload_certificate()

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
            if self._certificate is not None and len(self._connecting) >= _MAX_CONNECTING:
                connection.close()
                continue
            connection.setblocking(False)
            task = loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        """Have the requests of a connection answered, once both sides agree on a cipher where there is a certificate."""
        loop = asyncio.get_running_loop()
        if self._certificate is None:
            await loop.connect_accepted_socket(self._protocol, connection)
            return
        with suppress(OSError):  # a client that speaks no TLS, is too slow, or does not trust the certificate
            await loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._certificate.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )

    def _reload_certificate(self) -> None:
        if self._certificate is None or self.should_exit:
            return
        self._certificate.reload()
        asyncio.get_running_loop().call_later(RELOAD_SECONDS, self._reload_certificate)

    def _protocol(self) -> asyncio.Protocol:
        """What uvicorn makes of each connection that it accepts itself."""
        make_protocol: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make_protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
