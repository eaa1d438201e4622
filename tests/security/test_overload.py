"""More requests at once than a service can answer."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.security

AT_ONCE = 600  # far more than are worked on at once, and fewer than may wait to be accepted
SECONDS = 60
BODY = json.dumps({"user_id": "u001", "limit": 5}).encode()
REQUEST = (
    b"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


@pytest.fixture
def server(own_shop: Path) -> Iterator[tuple["subprocess.Popen[bytes]", tuple[str, int]]]:
    """A service in a process of its own, which is ready, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(own_shop), "serve", "--port", str(address[1])]
    with (own_shop / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_ready(address)
        yield process, address
    finally:
        process.kill()
        process.wait()


def wait_until_ready(address: tuple[str, int]) -> None:
    """Wait until a service is ready."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            urlopen(f"http://127.0.0.1:{address[1]}/readyz", timeout=SECONDS).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.1)


def head_of(connection: socket.socket) -> bytes:
    """The head of the answer on a connection."""
    received = b""
    with connection:
        while part := connection.recv(65_536):
            received += part
    return received.partition(b"\r\n\r\n")[0].lower()


def test_requests_that_wait_to_be_accepted_are_turned_away_and_not_answered_too_late(server):
    """S13: requests on new connections count for the limit, too; those beyond it are told to come again."""
    process, address = server
    process.send_signal(signal.SIGSTOP)
    connections = []
    for _ in range(AT_ONCE):
        connection = socket.create_connection(address, SECONDS)
        connection.sendall(REQUEST)
        connections.append(connection)
    process.send_signal(signal.SIGCONT)
    heads = [head_of(connection) for connection in connections]
    statuses = Counter(head.split()[1] for head in heads)
    assert set(statuses) == {b"200", b"503"}, statuses
    assert all(b"\r\nretry-after:" in head for head in heads if head.split()[1] == b"503")
