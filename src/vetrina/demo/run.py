"""The demo from start to end: files, path, service, lines to try."""

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
_READY_SECONDS = 60


def run_demo(
    folder: Path, port: int, exit_when_answered: bool, echo: Callable[[str], None], elapsed_seconds: Callable[[], float]
) -> None:
    """Run the path, start the service in a process of its own, print what to try, wait for Ctrl-C."""
    bind("127.0.0.1", port).close()  # a taken port is known before minutes of work
    shop = Shop(folder, TerminalProgress())
    echo("A grocer's year: 92,331 products, 2,469 households, 1.47 million purchases (Complete Journey, 84.51).")
    source = write_input_files(folder / "source", end_time=clock.now())
    shop.ingest(products=source.products, events=source.events, users=source.users)
    for scenario in _SCENARIOS:
        _print_release(echo, scenario, shop.fit(scenario, budget_minutes=_BUDGET_MINUTES)[scenario], shop)
    echo(f"Ready after {elapsed_seconds():.0f} s.")
    server = _start_server(folder, port)
    try:
        address = _wait_until_ready(server)
        echo(f"Serving on {address}; Ctrl-C stops.")
        echo(_first_answer(shop, folder, address))
        if not exit_when_answered:
            # Polars takes SIGINT with SA_RESTART: without this a signal to this process alone would not end the wait.
            signal.siginterrupt(signal.SIGINT, True)
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=20)


def _print_release(echo: Callable[[str], None], scenario: str, release: ReleaseResult | None, shop: Shop) -> None:
    if release is None:
        echo(f"{scenario}: nothing new since {shop.shop_context.registry.champion(scenario)[0]}")
        return
    echo(f"{scenario}: {release.version} {release.outcome} ({release.mode}: {release.note})")
    for reason in shop.shop_context.registry.get_verdict(release.verdict)["reasons"]:
        echo(f"  {outcome_mark(reason)}  {reason['text']}")
    if release.outcome == "testing":
        echo(f"  vetrina --shop-dir {shop.folder.root} operate moves it on among shoppers; vetrina releases shows how")


def _start_server(folder: Path, port: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "serve", "--port", str(port)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603


def _wait_until_ready(server: "subprocess.Popen[str]") -> str:
    """The address once the service is ready."""
    line = server.stderr.readline().strip() if server.stderr else ""
    if not line.startswith("listening on "):
        raise RuntimeError(f"the service did not start: {line}")
    address = line.removeprefix("listening on ")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            _request_json(f"{address}/readyz")
        except OSError:
            time.sleep(0.05)
        else:
            return address
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS} s")


def _first_answer(shop: Shop, folder: Path, address: str) -> str:
    """Ask once, as a shopper would, and print the lines for more."""
    found = _request_json(f"{address}/v1/search", {"query": "chocolate milk", "limit": 3})
    product = found["items"][0]["product_id"]
    shown = "\n".join(f"  {item['product_id']:<10} {item['title']}" for item in found["items"])
    host, port = address.removeprefix("http://").rsplit(":", 1)
    token = shop.folder.root / "keys" / "token"
    return f'"chocolate milk" finds\n{shown}\n{curl_examples(host, int(port), token, "1042", product)}'


def _request_json(url: str, body: dict[str, object] | None = None) -> dict[str, list[dict[str, str]]]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)
