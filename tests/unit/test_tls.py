"""TLS of the service: which files are refused, and that a renewed certificate is taken over."""

import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from certificates import DAY, Authority, Issued
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from vetrina.core import settings
from vetrina.core.errors import BadInput
from vetrina.serve.http import eager_server
from vetrina.serve.http.eager_server import EagerServer
from vetrina.serve.http.tls import ServerCertificate, trusting_context
from vetrina.serve.serve import bind
from vetrina.simulate.processes import start_command

SECONDS = 60
HEALTH_CHECK = Path(__file__).parents[2] / "deploy" / "images" / "healthcheck"


@pytest.fixture
def authority(tmp_path) -> Authority:
    """Of this test alone."""
    return Authority(tmp_path / "authority")


def with_password(issued: Issued) -> Issued:
    """The same with an encrypted key."""
    key = load_pem_private_key(issued.key.read_bytes(), None)
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    return issued


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        (lambda a: Issued(Path("/nowhere.pem"), a.issue("a").key), "tls_cert /nowhere.pem: cannot be read"),
        (lambda a: Issued(a.issue("a").certificate, Path("/nowhere.key")), "tls_key /nowhere.key: cannot be read"),
        (lambda a: Issued(a.issue("a").key, a.issue("a").key), "holds no certificate"),
        (lambda a: Issued(a.issue("a").certificate, a.issue("b").certificate), "holds no private key"),
        (lambda a: Issued(a.issue("a").certificate, a.issue("b").key), "does not belong to the certificate"),
        (lambda a: with_password(a.issue("a")), "has a password"),
        (lambda a: a.issue("a", -2 * DAY, -DAY), "expired on"),
        (lambda a: a.issue("a", DAY, 2 * DAY), "is not valid before"),
    ],
)
def test_files_that_cannot_be_used_are_refused(authority, files, rule):
    issued = files(authority)
    with pytest.raises(BadInput, match=rule):
        ServerCertificate(issued.certificate, issued.key)


def test_one_setting_without_the_other_is_refused(tmp_path):
    (tmp_path / "vetrina.toml").write_text('[serve]\ntls_cert = "a.pem"\n')
    with pytest.raises(BadInput, match="belong together"):
        settings.load(tmp_path / "vetrina.toml")


async def app(scope, receive, send) -> None:
    """Answers with the scheme."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


@contextmanager
def serving(certificate: ServerCertificate) -> Iterator[int]:
    """A server in a thread; yields its port."""
    listener = bind("127.0.0.1", 0)
    server = EagerServer(uvicorn.Config(app, lifespan="off", log_level="error"), certificate)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS)


def served_certificate(port: int) -> str:
    """In PEM form."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=SECONDS)


def test_a_renewed_certificate_is_taken_over_and_a_wrong_one_is_not(authority, monkeypatch):
    monkeypatch.setattr(eager_server, "RELOAD_SECONDS", 0.02)
    first = authority.issue("first")
    second = authority.issue("second")
    used = Issued(first.certificate.with_name("used.pem"), first.key.with_name("used.key"))
    shutil.copy(first.certificate, used.certificate)
    shutil.copy(first.key, used.key)
    with serving(ServerCertificate(used.certificate, used.key)) as port:
        trusted = ssl.create_default_context(cafile=authority.file)
        with httpx.Client(verify=trusted) as client:
            assert client.get(f"https://127.0.0.1:{port}/").text == "https"
            shutil.copy(second.certificate, used.certificate)  # its key has not come yet
            time.sleep(0.2)
            assert served_certificate(port) == first.certificate.read_text()
            shutil.copy(second.key, used.key)
            deadline = time.monotonic() + SECONDS
            while served_certificate(port) != second.certificate.read_text():
                assert time.monotonic() < deadline
            assert client.get(f"https://127.0.0.1:{port}/").text == "https", "an open connection goes on"


def test_clients_without_tls_or_trust_end_nothing(authority):
    issued = authority.issue("a")
    with serving(ServerCertificate(issued.certificate, issued.key)) as port:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"HTTP" not in plain.recv(1_000)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{port}/")
        assert httpx.get(f"https://127.0.0.1:{port}/", verify=trusting_context(issued.certificate)).text == "https"


def test_the_service_itself_speaks_tls(predicting, authority, tmp_path):
    folder = Path(shutil.copytree(predicting[0], tmp_path / "shop"))
    issued = authority.issue("a")
    shutil.copy(issued.certificate, folder / "cert.pem")
    shutil.copy(issued.key, folder / "key.pem")
    (folder / "vetrina.toml").write_text('[serve]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    server, address = start_command(folder, "serve", "--port", "0")
    try:
        assert address.startswith("https://")
        trusted = ssl.create_default_context(cafile=authority.file)
        assert httpx.get(f"{address}/healthz", verify=trusted, timeout=SECONDS).text == "ok"
        health = subprocess.run([HEALTH_CHECK, address.rpartition(":")[2]], timeout=SECONDS, check=False)
        assert health.returncode == 0, "the image's health check finds it, too"
    finally:
        server.terminate()
        server.wait(SECONDS)
    (folder / "key.pem").write_bytes(authority.issue("b").key.read_bytes())
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "serve", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert refused.returncode == 2
    assert "does not belong to the certificate" in refused.stderr.splitlines()[-1]
