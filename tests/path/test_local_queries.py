"""Queries on the command line: the shop's running service answers them, else the bundle, with the same answer."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from litestar.testing import TestClient

from vetrina.cli.main import cli
from vetrina.core import clock
from vetrina.core.errors import NotReady
from vetrina.serve import released_models
from vetrina.serve.app import create_app
from vetrina.serve.local.server import bind_local_socket
from vetrina.simulate.processes import start_command
from vetrina.store import exposure_queries
from vetrina.store.database import open_store
from vetrina.store.shop_folder import ShopFolder

SECONDS = 120  # no machine is so slow
COMMANDS = (
    ("recommend", "u003"),
    ("recommend", "u003", "--limit", "4", "--placement", "cart", "--exclude-seen"),
    ("recommend", "nobody"),
    ("search", "red shoes"),
    ("search", "red shoes", "--user", "u004", "--limit", "3"),
    ("similar", "p003"),
)
REFUSED = (("recommend", "u003", "--placement", "nowhere"), ("similar", "p003", "--by-image"), ("search", " "))


@pytest.fixture(scope="module")
def shop(pristine, tmp_path_factory) -> Path:
    """A released shop that nothing serves."""
    return shutil.copytree(pristine[0], tmp_path_factory.mktemp("asked") / "shop")


@pytest.fixture
def stopped_clock(monkeypatch) -> None:
    """Scores depend on the time of the query: every query comes at the same one."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)


@pytest.fixture
def no_bundle(monkeypatch) -> None:
    """Only a service can answer."""

    def refuse(*_: object) -> None:
        raise AssertionError("the command opened the bundle")

    monkeypatch.setattr(released_models, "answer_from_bundle", refuse)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[TestClient]:
    """The shop, served within this process."""
    with TestClient(create_app(folder, bind_local_socket(folder)), base_url="http://127.0.0.1:8337") as client:
        yield client


@contextlib.contextmanager
def replying(folder: Path, reply: bytes) -> Iterator[None]:
    """A socket of the shop that replies the same to every query."""
    bound = bind_local_socket(folder)
    assert bound is not None
    bound.socket.listen()

    def answer() -> None:
        connection, _ = bound.socket.accept()
        with connection, connection.makefile("rb") as stream:
            stream.readline()
            connection.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    thread.join(SECONDS)
    bound.remove()
    bound.socket.close()


def ask(folder: Path, *arguments: str) -> Result:
    """The result of a command."""
    return CliRunner().invoke(cli, ["--shop-dir", str(folder), *arguments])


def socket_of(folder: Path) -> Path:
    """The file of the service's socket."""
    return folder / "work" / "service.sock"


def test_with_and_without_a_service_the_same_is_printed(shop, stopped_clock, request):
    options = ((), ("--json",))
    without = [ask(shop, *option, *command).stdout for command in COMMANDS for option in options]
    assert all(without)
    request.getfixturevalue("no_bundle")
    with serving(shop):
        assert [ask(shop, *option, *command).stdout for command in COMMANDS for option in options] == without


def test_with_and_without_a_service_the_same_is_refused(shop, request):
    without = [str(ask(shop, *command).exception) for command in REFUSED]
    assert "placement 'nowhere': is unknown" in without[0]
    request.getfixturevalue("no_bundle")
    with serving(shop):
        assert [str(ask(shop, *command).exception) for command in REFUSED] == without


def test_an_answer_on_the_command_line_is_neither_logged_nor_counted(shop, no_bundle):
    with serving(shop) as client:
        for command in COMMANDS:
            assert ask(shop, *command).exit_code == 0
        shown = client.post("/v1/recommend", json={"user_id": "u003"}).json()
        client.post("/v1/events", json={"user_id": "u003", "type": "view"})  # waits for the log
        folder = ShopFolder(shop)
        metrics = client.get("/metrics", headers={"authorization": f"Bearer {folder.keys.api_token}"}).text
    engine = open_store(folder.store_url, folder.keys)
    logged = exposure_queries.list_exposures(engine, "recommend", 0, clock.now() + 10)
    logged += exposure_queries.list_exposures(engine, "search", 0, clock.now() + 10)
    engine.dispose()
    assert [answer.request_id for answer in logged] == [shown["request_id"]]
    counted = [line for line in metrics.splitlines() if line.startswith("vetrina_answers_total{")]
    assert [line.rsplit(" ", 1)[1] for line in counted] == ["1.0"]


def test_only_the_owner_can_connect_and_the_end_removes_the_socket(shop):
    with serving(shop):
        status = socket_of(shop).stat()
        assert status.st_mode & 0o777 == 0o600
    assert not socket_of(shop).exists()


def test_a_service_removes_its_own_socket_alone(tmp_path):
    first = bind_local_socket(tmp_path)
    second = bind_local_socket(tmp_path)
    assert first is not None
    assert second is not None
    first.remove()
    assert socket_of(tmp_path).exists()
    second.remove()
    assert not socket_of(tmp_path).exists()
    first.socket.close()
    second.socket.close()


def test_a_socket_whose_service_is_gone_is_not_used(shop):
    bound = bind_local_socket(shop)
    assert bound is not None
    bound.socket.close()  # as when the process is killed
    assert socket_of(shop).exists()
    assert len(json.loads(ask(shop, "--json", "recommend", "u003").stdout)) == 10
    bound.remove()


def test_a_socket_of_nothing_that_can_answer_is_not_used(shop, stopped_clock):
    expected = ask(shop, "recommend", "u003").stdout
    for reply in (b"", b"{}", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        with replying(shop, reply):
            assert ask(shop, "recommend", "u003").stdout == expected


def test_a_service_that_hangs_is_not_waited_for(shop):
    bound = bind_local_socket(shop)
    assert bound is not None
    bound.socket.listen()  # and never accepts
    assert len(json.loads(ask(shop, "--json", "recommend", "u003").stdout)) == 10
    bound.remove()
    bound.socket.close()


def test_a_scenario_that_the_service_does_not_serve_is_looked_up_in_the_shop(predicting, tmp_path):
    folder = shutil.copytree(predicting[0], tmp_path / "shop")
    with serving(folder):
        refused = ask(folder, "recommend", "u003").exception
    assert isinstance(refused, NotReady)


def test_a_folder_with_a_long_path_has_a_socket_too(tmp_path, no_bundle):
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    item = {"product_id": "p1", "title": "red shoes", "score": 0.123456, "reasons": ["is new"]}
    with replying(folder, json.dumps({"items": [item], "refusal": None}).encode()):
        (row,) = json.loads(ask(folder, "--json", "search", "shoes").stdout)
    assert row == {"rank": 1, "product_id": "p1", "title": "red shoes", "score": 0.1235, "why": "is new"}


def test_a_file_system_without_sockets_is_served_all_the_same(tmp_path, caplog):
    (tmp_path / "work").write_text("a file, so that no socket can lie in this folder")
    assert bind_local_socket(tmp_path) is None
    assert "the command line opens the bundles itself" in caplog.text


def test_a_served_process_answers_without_loading_anything_and_sigterm_removes_the_socket(shop):
    server, address = start_command(shop, "serve", "--port", "0")
    assert httpx.get(f"{address}/healthz", timeout=SECONDS).text == "ok"
    code = (
        "import sys; sys.argv = ['vetrina', '--shop-dir', sys.argv[1], 'recommend', 'u003']\n"
        "from vetrina.cli.main import cli; cli.main(standalone_mode=False)\n"
        "print([m for m in ('numpy', 'sqlalchemy', 'polars', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, shop], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=SECONDS)
    assert not socket_of(shop).exists()
