"""The demo from start to end: input files, training, service, and requests to try."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vetrina.cli.formatting import outcome_mark
from vetrina.cli.progress import TerminalProgress
from vetrina.core import clock
from vetrina.core.types import ReleaseResult
from vetrina.demo.complete_journey import curl_examples, write_input_files
from vetrina.pipeline.api import Shop
from vetrina.serve.serve import bind

_SCENARIOS = ("search", "recommend")
_BUDGET_MINUTES = 5.0  # minutes of each run, so that the demo takes ten at most
_READY_SECONDS = 60  # longest time until the service is ready
_POLL_SECONDS = 0.05
_REQUEST_TIMEOUT_SECONDS = 10
_STOP_SECONDS = 20  # time for the service to end
_EXAMPLE_USER = "1042"


def run_demo(
    folder: Path, port: int, exit_when_answered: bool, echo: Callable[[str], None], elapsed_seconds: Callable[[], float]
) -> None:
    """Train and release on the demo's data, start the service in a process of its own, print requests to try, wait for Ctrl-C.

    Args:
        folder: the shop's folder.
        port: port of the service; 0 chooses a free one.
        exit_when_answered: stop once the service has answered a request.
        echo: prints a line.
        elapsed_seconds: gives the time since the command began.
    """
    bind("127.0.0.1", port).close()  # a port in use is reported now and not after minutes of work
    shop = Shop(folder, TerminalProgress())
    echo("A grocer's year: 92,331 products, 2,469 households, 1.47 million purchases (Complete Journey, 84.51).")
    source = write_input_files(folder / "source", end_time=clock.now())
    shop.ingest(products=source.products, events=source.events, users=source.users)
    for scenario in _SCENARIOS:
        release = shop.fit(scenario, budget_minutes=_BUDGET_MINUTES)[scenario]
        _print_release(echo, scenario, release, shop)
    echo(f"Ready after {elapsed_seconds():.0f} s.")
    server = _start_server(folder, port)
    try:
        address = _wait_until_ready(server)
        echo(f"Serving on {address}; Ctrl-C stops.")
        echo(_first_answer(shop, address))
        if not exit_when_answered:
            # Polars takes SIGINT with SA_RESTART: without this a signal to this process alone would not end the wait.
            signal.siginterrupt(signal.SIGINT, True)
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=_STOP_SECONDS)


def _print_release(echo: Callable[[str], None], scenario: str, release: ReleaseResult | None, shop: Shop) -> None:
    registry = shop.shop_context.registry
    if release is None:
        champion, _ = registry.champion(scenario)
        echo(f"{scenario}: nothing new since {champion}")
        return
    echo(f"{scenario}: {release.version} {release.outcome} ({release.mode}: {release.note})")
    for reason in registry.get_verdict(release.verdict)["reasons"]:
        echo(f"  {outcome_mark(reason)}  {reason['text']}")
    if release.outcome == "testing":
        echo(
            f"  next: vetrina --shop-dir {shop.folder.root} operate tests it on users; vetrina releases shows the decisions"
        )


def _start_server(folder: Path, port: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "serve", "--port", str(port)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603


def _wait_until_ready(server: "subprocess.Popen[str]") -> str:
    """The address of the service once it is ready. Raises RuntimeError where it does not start or takes too long."""
    first_line = server.stderr.readline().strip() if server.stderr else ""
    if not first_line.startswith("listening on "):
        raise RuntimeError(f"the service did not start: {first_line}")
    address = first_line.removeprefix("listening on ")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            _request_json(f"{address}/readyz")
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return address
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS} s")


def _first_answer(shop: Shop, address: str) -> str:
    """The answer to one search, and requests to try."""
    answer = _request_json(f"{address}/v1/search", {"query": "chocolate milk", "limit": 3})
    items = answer["items"]
    lines = ['"chocolate milk" finds']
    lines += [f"  {item['product_id']:<10} {item['title']}" for item in items]
    host, port = address.removeprefix("http://").rsplit(":", 1)
    token_file = shop.folder.root / "keys" / "token"
    lines.append(curl_examples(host, int(port), token_file, _EXAMPLE_USER, items[0]["product_id"]))
    return "\n".join(lines)


def _request_json(url: str, body: dict[str, object] | None = None) -> dict[str, list[dict[str, str]]]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_SECONDS) as response:  # noqa: S310
        return json.load(response)
