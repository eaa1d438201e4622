"""The demo from start to end: input files, a queue of two runs, and ``vetrina up``, which serves while it trains."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vetrina.api.shop import Shop
from vetrina.core import clock
from vetrina.core.files import write_bytes
from vetrina.core.progress import Progress
from vetrina.demo.complete_journey import curl_examples, write_input_files
from vetrina.serve.http.tls import trusting_context
from vetrina.serve.serve import bind
from vetrina.store.runs import PRIORITY_MANUAL

_SCENARIOS = ("search", "recommend")
_LOOPBACK = "127.0.0.1"
_ALL_IPV4_ADDRESSES = "0.0.0.0"  # noqa: S104 - compared with, never bound by itself
_ALL_IPV6_ADDRESSES = "::"
_CONTAINER_VARIABLE = "container"  # names what runs a container; Podman sets it, and Vetrina's images do
_SETTINGS = b"[train]\nbudget_minutes = 5\n"  # the demo is to be tried, not to be tuned
_POLL_SECONDS = 0.2
_REQUEST_TIMEOUT_SECONDS = 10
_STOP_SECONDS = 60  # time for the service and its controller to end
_QUERY = "chocolate milk"
_EXAMPLE_USER = "1042"
_CONTAINER_TEXT = "Outside of a container, $(docker exec CONTAINER cat {0}) stands for $(cat {0})."
_ENDED_TEXT = "the service ended with status {} before all was trained"


def run_demo(
    folder: Path,
    host: str,
    port: int,
    exit_when_trained: bool,
    progress: Progress,
    echo: Callable[[str], None],
    elapsed_seconds: Callable[[], float],
) -> None:
    """Ingest the demo's data, serve and train, and print the first answers as they come and requests to try; wait for Ctrl-C.

    Args:
        folder: the shop's folder.
        host: address to listen on.
        port: port of the service; 0 chooses a free one.
        exit_when_trained: stop once all runs have ended.
        progress: reports the ingest.
        echo: prints a line.
        elapsed_seconds: gives the time since the command began.
    """
    free_socket = bind(host, port)  # a port in use is reported now and not after the ingest
    bound_port = free_socket.getsockname()[1]
    free_socket.close()
    address = local_address(host, bound_port)
    settings_file = folder / "vetrina.toml"
    if not settings_file.exists():
        write_bytes(settings_file, _SETTINGS)
    shop = Shop(folder, progress)
    if shop.folder.settings.serve.tls_cert:
        address = address.replace("http://", "https://", 1)
    echo("A grocer's year: 92,331 products, 2,469 households, 1.47 million purchases (Complete Journey, 84.51).")
    source = write_input_files(folder / "source", end_time=clock.now())
    shop.ingest(products=source.products, events=source.events, users=source.users)
    for scenario in _SCENARIOS:
        shop.shop_context.runs.enqueue(scenario, "the demo", PRIORITY_MANUAL)
    # Polars takes SIGINT with SA_RESTART: without this a signal to this process alone would not end the wait.
    signal.siginterrupt(signal.SIGINT, True)
    service = _start_service(folder, host, bound_port)
    try:
        _follow(service, shop, address, echo, elapsed_seconds)
        if not exit_when_trained:
            while service.poll() is None:  # a signal that another thread got is acted on as a sleep ends
                time.sleep(_POLL_SECONDS)
    finally:
        service.terminate()
        service.wait(timeout=_STOP_SECONDS)


def local_address(host: str, port: int) -> str:
    """The address by which this machine reaches a service: loopback where it listens on every address.

    A container's port that is published under the same number has that address outside of the container, too.
    """
    if host == _ALL_IPV4_ADDRESSES:
        return f"http://{_LOOPBACK}:{port}"
    if host == _ALL_IPV6_ADDRESSES:
        return f"http://[::1]:{port}"
    if ":" in host:
        return f"http://[{host}]:{port}"
    return f"http://{host}:{port}"


def _is_in_container() -> bool:
    return _CONTAINER_VARIABLE in os.environ


def _start_service(folder: Path, host: str, port: int) -> "subprocess.Popen[bytes]":
    """``vetrina up``, whose controller executes the queued runs and says what serves and what is being trained."""
    command = [
        sys.executable,
        "-m",
        "vetrina.cli",
        "--shop-dir",
        str(folder),
        "up",
        "--host",
        host,
        "--port",
        str(port),
    ]
    return subprocess.Popen(command)  # noqa: S603


def _follow(
    service: "subprocess.Popen[bytes]",
    shop: Shop,
    address: str,
    echo: Callable[[str], None],
    elapsed_seconds: Callable[[], float],
) -> None:
    """Print the first answer of each scenario when it comes, requests to try, and when all runs have ended.

    Args:
        service: the process of the service. The wait ends with it.
        shop: the demo's shop.
        address: of the service.
        echo: prints a line.
        elapsed_seconds: gives the time since the command began.
    """
    search = _wait_for_answer(service, shop, f"{address}/v1/search", {"query": _QUERY, "limit": 3})
    echo(f'After {elapsed_seconds():.0f} s, "{_QUERY}" finds\n{_item_lines(search)}')
    recommended = _wait_for_answer(service, shop, f"{address}/v1/recommend", {"user_id": _EXAMPLE_USER, "limit": 3})
    echo(f"After {elapsed_seconds():.0f} s, household {_EXAMPLE_USER} is recommended\n{_item_lines(recommended)}")
    token_file = shop.folder.root / "keys" / "token"
    echo(curl_examples(address, token_file, _EXAMPLE_USER, search["items"][0]["product_id"]))
    if _is_in_container():
        echo(_CONTAINER_TEXT.format(token_file))
    while service.poll() is None and _is_training(shop):
        time.sleep(_POLL_SECONDS)
    if service.poll() is not None:
        raise RuntimeError(_ENDED_TEXT.format(service.returncode))
    echo(f"After {elapsed_seconds():.0f} s all is trained. Serving on {address}; Ctrl-C stops.")


def _is_training(shop: Shop) -> bool:
    """Whether a run of the demo's scenarios is queued or under way."""
    return any(run.scenario in _SCENARIOS for run in shop.shop_context.runs.list_unfinished())


def _item_lines(answer: dict[str, Any]) -> str:
    return "\n".join(f"  {item['product_id']:<10} {item['title']}" for item in answer["items"])


def _wait_for_answer(
    service: "subprocess.Popen[bytes]", shop: Shop, url: str, body: dict[str, object]
) -> dict[str, Any]:
    """The first answer to a request; until then nothing listens, or the scenario is not ready.

    Args:
        service: the process of the service.
        shop: the demo's shop, whose runs are waited for.
        url: of the request.
        body: of the request.

    Raises:
        RuntimeError: the service has ended.
        OSError: no run is left, and the service refuses the request or cannot be reached.
    """
    data = json.dumps(body).encode()
    while service.poll() is None:
        is_training = _is_training(shop)
        try:
            return _request_json(url, data, _tls_context(shop))
        except OSError:
            if not is_training:
                raise
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(_ENDED_TEXT.format(service.returncode))


def _tls_context(shop: Shop) -> ssl.SSLContext | None:
    """A context that trusts the demo's own certificate, None for one that is served without TLS."""
    settings = shop.folder.settings.serve
    if not settings.tls_cert:
        return None
    return trusting_context(shop.folder.root / settings.tls_cert)


def _request_json(url: str, data: bytes, context: ssl.SSLContext | None) -> dict[str, Any]:
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_SECONDS, context=context) as response:  # noqa: S310
        return json.load(response)
