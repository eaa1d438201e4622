"""The server that accepts all waiting connections at once."""

import asyncio
import socket
from typing import Any

import uvicorn

from vetrina.serve.http.eager_server import EagerServer

SECONDS = 30.0  # no machine is so slow


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Is never asked."""


def test_connections_that_come_as_the_server_stops_do_not_hold_it_up():
    """A connection that is accepted at that moment is told to end like those before it."""

    async def stop_while_one_connects(listener: socket.socket) -> None:
        config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
        config.load()
        server = EagerServer(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        with socket.create_connection(listener.getsockname()):
            for _ in range(2):  # turns of the event loop: the connection is accepted, and has no protocol yet
                await asyncio.sleep(0)
            async with asyncio.timeout(SECONDS):
                await server.shutdown([listener])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(stop_while_one_connects(listener))
