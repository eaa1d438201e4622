"""Connections that a client leaves half done, and a server whose log nobody reads."""

import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from vetrina.demo import run
from vetrina.serve.serve import bind
from vetrina.simulate import processes

pytestmark = pytest.mark.security

START_SECONDS = 60.0
LONGEST_SECONDS = 15.0  # that a server may take to end what a client left half done
LINE = "x" * 64  # as long as the id of a verdict may be
PIPE_BYTES = 65_536
LEAST_LOGGED_BYTES = 1_000  # of a request that fails: its path, and where it failed


@pytest.fixture
def server(own_shop: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, tuple[str, int]]]:
    """A server in a process of its own, and its host and port."""
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(own_shop), "serve", "--port", "0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        address = httpx.URL(first_line(log).removeprefix("listening on "))
        httpx.get(address.join("/healthz"), timeout=START_SECONDS)
        yield process, (address.host, address.port or 0)
    finally:
        process.kill()
        process.wait()


def first_line(log: Path) -> str:
    """The first line of a log, once it is there."""
    deadline = time.monotonic() + START_SECONDS
    while not log.read_text().endswith("\n"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {log.read_text()}")
        time.sleep(0.05)
    return log.read_text().splitlines()[0]


def ended(connection: socket.socket, seconds: float) -> bool:
    """Whether the server answers or closes within a time."""
    connection.settimeout(seconds)
    try:
        connection.recv(1_024)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_header_of_a_megabyte_is_refused(server):
    """S13: a request whose header is larger than 64 kB is refused with 431, or its connection is closed."""
    _, address = server
    with socket.create_connection(address, timeout=START_SECONDS) as connection:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n")
            answer = connection.recv(1_024)
        except ConnectionError:
            answer = b""
    status = answer.split(b" ")[1] if answer else b""
    assert status in (b"", b"400", b"431")


def test_a_header_that_does_not_end_is_given_up(server):
    """S13: a connection whose header is not complete in time is closed."""
    _, address = server
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert ended(connection, LONGEST_SECONDS)


def test_a_body_that_does_not_come_keeps_no_server_from_stopping(server):
    """S13: a server that is told to stop waits a limited time for requests that are under way."""
    process, address = server
    header = (
        b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    )
    with socket.create_connection(address) as connection:
        connection.sendall(header + b"{")
        httpx.get(f"http://{address[0]}:{address[1]}/healthz")  # what was sent before has arrived by now
        process.send_signal(signal.SIGTERM)
        process.wait(LONGEST_SECONDS)


def test_a_thousand_idle_connections_keep_nobody_from_being_answered(server):
    """S13: connections on which nothing is asked take no request's turn."""
    _, address = server
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft_limit, min(4_096, hard_limit)), hard_limit))
    idle = []
    try:
        for _ in range(1_000):
            idle.append(socket.create_connection(address, timeout=START_SECONDS))
        url = f"http://{address[0]}:{address[1]}/v1/recommend"
        for _ in range(10):
            assert httpx.post(url, json={"user_id": "u000"}, timeout=START_SECONDS).status_code == 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard_limit))


def by_simulation(folder: Path) -> tuple[subprocess.Popen, str]:
    """The server that `vetrina simulate` starts."""
    return processes.start_command(folder, "serve", "--port", "0")


def by_demo(folder: Path) -> tuple[subprocess.Popen, str]:
    """The server that `vetrina demo` starts."""
    (folder / "vetrina.toml").write_text("[operate]\ncheck_interval_minutes = 1e9\n")
    free_socket = bind("127.0.0.1", 0)
    port = free_socket.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    free_socket.close()
    process = run._start_service(folder, "127.0.0.1", port)
    connect = httpx.HTTPTransport(retries=10)  # waits longer each time
    with httpx.Client(transport=connect, timeout=START_SECONDS) as client:
        client.get(f"{address}/healthz")
    return process, address


@pytest.mark.parametrize("start", [by_simulation, by_demo])
def test_a_server_goes_on_however_much_it_logs(own_shop, token, start: Callable):
    """S10: whoever starts a server reads its log or hands it to a file, so that no line ever has to wait."""
    process, address = start(own_shop)
    try:
        with httpx.Client(base_url=address, timeout=5.0, headers=token) as client:
            client.get("/healthz", timeout=START_SECONDS)
            with sqlite3.connect(own_shop / "store.db") as store:
                store.execute("DROP TABLE verdicts")
            for _ in range(2 * PIPE_BYTES // LEAST_LOGGED_BYTES):
                client.get(f"/v1/verdicts/{LINE}")  # fails, and is logged with its path
            assert client.get("/healthz").text == "ok"
    finally:
        process.kill()
        process.communicate()
