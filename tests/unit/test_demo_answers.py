"""What the demo waits for: the first answers of a service that starts while models are trained."""

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from vetrina.demo import run
from vetrina.store.shop_folder import ShopFolder

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{"items": []}'


def test_a_service_that_ends_a_connection_without_an_answer_is_asked_again(tmp_path):
    """The service may be restarted, or take long to start on a busy machine, while the demo asks."""
    service: Any = SimpleNamespace(poll=lambda: None)
    runs = SimpleNamespace(list_unfinished=lambda: [SimpleNamespace(scenario="search")])
    shop: Any = SimpleNamespace(shop_context=SimpleNamespace(runs=runs), folder=ShopFolder(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (b"", ANSWER):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        host, port = listener.getsockname()
        assert run._wait_for_answer(service, shop, f"http://{host}:{port}/v1/search", {}) == {"items": []}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8337"),
        ("0.0.0.0", "http://127.0.0.1:8337"),
        ("::", "http://[::1]:8337"),
        ("::1", "http://[::1]:8337"),
        ("192.0.2.7", "http://192.0.2.7:8337"),
    ],
)
def test_the_printed_address_is_one_that_can_be_reached(host, address):
    """A service that listens on every address is reached by loopback, as is the published port of its container."""
    assert run.local_address(host, 8337) == address
