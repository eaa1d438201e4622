"""The drill: a made-up shop, its service and controller as real processes, shoppers over HTTP, and something planted."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.core.files import write_bytes
from vetrina.pipeline.shop import Shop
from vetrina.simulate.files import write
from vetrina.simulate.plants import make_dull, plant
from vetrina.simulate.processes import start, wait
from vetrina.simulate.shoppers import Shoppers
from vetrina.simulate.world import World

TROUBLES = ("bots", "dead-feed")
_USUAL_SECONDS = 20.0
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
    """Run the drill and return what became of the release: promoted, rolled back, returned, or running at the end."""
    world = World(products=200, users=3_000, days=15, now=time.time() - 3_600)
    shop = made_up_shop(folder, world, minutes, say)
    planted = "better" if kind in TROUBLES else kind
    if planted == "better":
        say(f"{make_dull(shop)} serves: it shows everybody what sells")
    serve, address = start(folder, "serve", "--port", "0")
    operate, _ = start(folder, "operate")
    try:
        with httpx.Client(base_url=address, timeout=20) as client:
            wait(client)
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


def made_up_shop(folder: Path, world: World, minutes: float, say: Callable[[str], None]) -> Shop:
    """The shop of ``world``, trained unless it is there already, with settings for a drill of so many minutes."""
    shop = Shop(folder)
    if shop.workshop.registry.champion("recommend")[0] is None:
        files = write(world, folder / "source")
        shop.ingest(
            products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]], ads=[files["ads"]]
        )
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
