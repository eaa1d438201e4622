"""The drill: a made-up shop, its service and controller as real processes, shoppers over HTTP, and something planted."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.core.clock import DAY
from vetrina.core.files import write_bytes
from vetrina.monitor.columns import Events
from vetrina.pipeline.shop import Shop
from vetrina.pipeline.watch import last_full_day
from vetrina.simulate.plants import make_dull, plant
from vetrina.simulate.shoppers import Shoppers
from vetrina.simulate.traffic import QUIET, Shift, Traffic
from vetrina.simulate.world import World
from vetrina.store import alerted

TROUBLES, DRIFT = ("bots", "dead-feed"), "drift"
_DRIFT_DAYS, _DRIFT_SHOPPERS, _DRIFT = 30, 800, Shift(0.3, 0.8)
_READY_SECONDS, _USUAL_SECONDS = 60.0, 20.0
# Minutes instead of days: outcomes are settled after two seconds, steps last five, and what is shown must be plain to see.
_SETTINGS = """\
[release]
steps = [0.2, 0.5]
step_minutes = 0.08
outcome_minutes = 0.035
cap_days = {cap}
shadow_answers = 20
screen = 0.3
screen_units = 15
screen_hours = 0.005
step_units = 20
least_units = 60
least_active = 10
margin_clicks = 0.1
margin_slow = 0.05
timeout_ms = 100

[operate]
release_seconds = 1
"""


def simulate(folder: Path, kind: str, minutes: float, say: Callable[[str], None]) -> str:
    """Run the drill and return what became of the release: promoted, rolled back, returned, or running at the end.

    With ``drift`` there is no release: prices move on the last two of thirty days, and it returns whether that was found.
    """
    if kind == DRIFT:
        return _drift(folder, minutes, say)
    world = World(products=200, users=3_000, days=15, now=time.time() - 3_600)
    shop = _shop(folder, world, minutes, say)
    planted = "better" if kind in TROUBLES else kind
    if planted == "better":
        say(f"{make_dull(shop)} serves: it shows everybody what sells")
    serve, address = _start(folder, "serve", "--port", "0")
    operate, _ = _start(folder, "operate")
    try:
        with httpx.Client(base_url=address, timeout=20) as client:
            _wait(client)
            shoppers = Shoppers(world, client, time.time, seed=int(time.time()))
            say(f"{world.users:,} shoppers visit {address}; first as usual for {_USUAL_SECONDS:.0f} s")
            _visit(shoppers, _USUAL_SECONDS, lambda: False)
            candidate = plant(shop, planted)
            shoppers.trouble = kind if kind in TROUBLES else ""
            say(f"planted: {candidate} ({kind})")
            told = _Told(shop, say)
            _visit(shoppers, 60 * minutes, told.ended)
            told.ended()
            for version, answers in shoppers.tally.answers.items():
                say(f"  {version}: {answers} answers, {shoppers.tally.clicked[version] / answers:.1%} of them clicked")
            best = f"the best possible recommendations would be clicked {_best(world):.1%} of the time"
            say(f"failed requests: {shoppers.tally.failed}; {best}")
            return str(shop.workshop.rollouts.all()[0]["state"])
    finally:
        for process in (operate, serve):
            process.terminate()
            process.wait(30)
        shop.workshop.engine.dispose()


def _drift(folder: Path, minutes: float, say: Callable[[str], None]) -> str:
    """Thirty days of events over HTTP, then the controller looks."""
    world = World(products=200, users=3_000, days=15, now=time.time() - (_DRIFT_DAYS + 1) * DAY)
    shop = _shop(folder, world, minutes, say)
    serve, address = _start(folder, "serve", "--port", "0")
    operate = None
    try:
        traffic, last = Traffic(world, _DRIFT_SHOPPERS), last_full_day(time.time())
        with httpx.Client(base_url=address, timeout=60) as client:
            _wait(client)
            say(f"{_DRIFT_DAYS} days of about {_DRIFT_SHOPPERS:,} shoppers; on the last two, prices move")
            for number in range(last - _DRIFT_DAYS + 1, last + 1):
                _send(client, world, traffic.day(number, _DRIFT if number > last - 2 else QUIET)[0])
        operate, _ = _start(folder, "operate")
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            for text in alerted.texts(shop.workshop.engine):
                if "drifted" in text:
                    say(text)
                    return "found"
            time.sleep(1)
        return "not found"
    finally:
        for process in (p for p in (operate, serve) if p):
            process.terminate()
            process.wait(30)
        shop.workshop.engine.dispose()


def _send(client: httpx.Client, world: World, events: Events) -> None:
    rows = [
        {
            "user_id": world.user_ids[unit],
            "type": events.types[kind],
            "product_id": world.product_ids[item],
            "price": round(price, 2),
            "timestamp": round(moment, 3),
        }
        for unit, kind, item, price, moment in zip(
            events.unit.tolist(),
            events.type.tolist(),
            events.item.tolist(),
            events.price.tolist(),
            events.time.tolist(),
            strict=True,
        )
    ]
    for start in range(0, len(rows), 1_000):
        client.post("/v1/events", json=rows[start : start + 1_000]).raise_for_status()


def _shop(folder: Path, world: World, minutes: float, say: Callable[[str], None]) -> Shop:
    shop = Shop(folder)
    if shop.workshop.registry.champion("recommend")[0] is None:
        files = world.write(folder / "source")
        shop.ingest(products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]])
        for scenario, release in shop.fit("recommend", "search").items():
            say(f"{scenario}: {release.version} {release.outcome}" if release else f"{scenario}: nothing new")
    write_bytes(folder / "vetrina.toml", _SETTINGS.format(cap=minutes / (24 * 60)).encode())
    return Shop(folder)


class _Told:
    """Says each decision of the newest release once."""

    def __init__(self, shop: Shop, say: Callable[[str], None]) -> None:
        self._shop, self._say, self._said = shop, say, 0

    def ended(self) -> bool:
        """Whether the release has ended."""
        newest = self._shop.workshop.rollouts.all()[0]
        log = self._shop.workshop.rollouts.log(newest["release"])
        for entry in log[self._said :]:
            reasons = entry.decision.reasons
            speaks = [r.text for r in reasons if not r.passed] or [r.text for r in reasons]
            self._say(f"{entry.decision.action}: {'; '.join(speaks)}")
        self._said = len(log)
        return newest["state"] != "running"


def _visit(shoppers: Shoppers, seconds: float, ended: Callable[[], bool]) -> None:
    deadline, asked = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < deadline:
        shoppers.visit()
        if time.monotonic() - asked > 1:
            asked = time.monotonic()
            if ended():
                return


def _best(world: World) -> float:
    chances = [1 - float((1 - world.click_chance(u, world.best(u))).prod()) for u in range(world.users)]
    return sum(chances) / len(chances)


def _start(folder: Path, *words: str) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE if words[0] == "serve" else None, text=True)  # noqa: S603
    line = process.stderr.readline().strip() if process.stderr else ""
    return process, line.removeprefix("listening on ")


def _wait(client: httpx.Client) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {_READY_SECONDS:.0f} s")
