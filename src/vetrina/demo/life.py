"""The demo from start to end: files, path, service, lines to try."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vetrina.console.bars import Bars
from vetrina.console.lines import mark
from vetrina.core import clock
from vetrina.core.types import Release
from vetrina.demo.grocer import files, hints
from vetrina.pipeline.shop import Shop
from vetrina.serve.serve import bind

_SCENARIOS = ("search", "recommend")
_BUDGET = 5.0  # minutes of each run, so that the demo takes ten at most
_READY_SECONDS = 60


def live(folder: Path, port: int, leave: bool, say: Callable[[str], None], elapsed: Callable[[], float]) -> None:
    """Run the path, start the service in a process of its own, print what to try, wait for Ctrl-C."""
    bind("127.0.0.1", port).close()  # a taken port is known before minutes of work
    shop = Shop(folder, Bars())
    say("A grocer's year: 92,331 products, 2,469 households, 1.47 million purchases (Complete Journey, 84.51).")
    source = files(folder / "source", until=clock.now())
    shop.ingest(products=source.products, events=source.events, users=source.users)
    for scenario in _SCENARIOS:
        _tell(say, scenario, shop.fit(scenario, budget_minutes=_BUDGET)[scenario], shop)
    say(f"Ready after {elapsed():.0f} s.")
    server = _start(folder, port)
    try:
        address = _wait(server)
        say(f"Serving on {address}; Ctrl-C stops.")
        say(_try_out(shop, folder, address))
        if not leave:
            # Polars takes SIGINT with SA_RESTART: without this a signal to this process alone would not end the wait.
            signal.siginterrupt(signal.SIGINT, True)
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=20)


def _tell(say: Callable[[str], None], scenario: str, release: Release | None, shop: Shop) -> None:
    if release is None:
        say(f"{scenario}: nothing new since {shop.workshop.registry.champion(scenario)[0]}")
        return
    say(f"{scenario}: {release.version} {release.outcome} ({release.mode}: {release.note})")
    for reason in shop.workshop.registry.verdict(release.verdict)["reasons"]:
        say(f"  {mark(reason)}  {reason['text']}")
    if release.outcome == "testing":
        say(f"  vetrina --shop-dir {shop.folder.root} operate moves it on among shoppers; vetrina releases shows how")


def _start(folder: Path, port: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), "serve", "--port", str(port)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603


def _wait(server: "subprocess.Popen[str]") -> str:
    """The address once the service is ready."""
    line = server.stderr.readline().strip() if server.stderr else ""
    if not line.startswith("listening on "):
        raise RuntimeError(f"the service did not start: {line}")
    address = line.removeprefix("listening on ")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            _get(f"{address}/readyz")
        except OSError:
            time.sleep(0.05)
        else:
            return address
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS} s")


def _try_out(shop: Shop, folder: Path, address: str) -> str:
    """Ask once, as a shopper would, and print the lines for more."""
    found = _get(f"{address}/v1/search", {"query": "chocolate milk", "limit": 3})
    product = found["items"][0]["product_id"]
    shown = "\n".join(f"  {item['product_id']:<10} {item['title']}" for item in found["items"])
    host, port = address.removeprefix("http://").rsplit(":", 1)
    token = shop.folder.root / "keys" / "token"
    return f'"chocolate milk" finds\n{shown}\n{hints(host, int(port), token, "1042", product)}'


def _get(url: str, body: dict[str, object] | None = None) -> dict[str, list[dict[str, str]]]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)
