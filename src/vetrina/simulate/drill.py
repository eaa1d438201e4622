"""The drill: a made-up shop, its service and controller as real processes, shoppers over HTTP, and something planted."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.core.files import write_bytes
from vetrina.pipeline.api import Shop
from vetrina.simulate.fault_injection import inject_candidate, serve_popularity_baseline
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World

LOG_FAULTS = ("bots", "dead-feed")
_WARM_UP_SECONDS = 20.0
# Minutes instead of days: outcomes are settled after two seconds, steps last five, and what is shown must be plain to see.
_DRILL_SETTINGS = """\
[release]
steps = [0.2, 0.5]
min_step_minutes = 0.08
attribution_window_minutes = 0.035
cap_days = {cap}
min_shadow_answers = 20
interleaving_share = 0.3
interleaving_min_units = 15
interleaving_max_hours = 0.005
min_step_units = 20
min_units_per_arm = 60
min_active_units_per_arm = 10
margin_clicks = 0.1
margin_slow = 0.05
candidate_timeout_ms = 100

[operate]
release_check_seconds = 1
"""


def run_drill(folder: Path, fault: str, minutes: float, echo: Callable[[str], None]) -> str:
    """Run the drill and return what became of the release: promoted, rolled back, returned, or running at the end."""
    world = World(products=200, users=3_000, days=15, now=time.time() - 3_600)
    shop = build_simulated_shop(folder, world, minutes, echo)
    planted = "better" if fault in LOG_FAULTS else fault
    if planted == "better":
        echo(f"{serve_popularity_baseline(shop)} serves: it shows everybody what sells")
    serve, address = start_command(folder, "serve", "--port", "0")
    operate, _ = start_command(folder, "operate")
    try:
        with httpx.Client(base_url=address, timeout=20) as client:
            wait_until_ready(client)
            shoppers = SimulatedUsers(world, client, time.time, seed=int(time.time()))
            echo(f"{world.users:,} shoppers visit {address}; first as usual for {_WARM_UP_SECONDS:.0f} s")
            _send_visits(shoppers, _WARM_UP_SECONDS, lambda: False)
            candidate = inject_candidate(shop, planted)
            shoppers.fault = fault if fault in LOG_FAULTS else ""
            echo(f"planted: {candidate} ({fault})")
            told = _DecisionReporter(shop, echo)
            _send_visits(shoppers, 60 * minutes, told.has_ended)
            told.has_ended()
            for version, answers in shoppers.counts.answers.items():
                echo(
                    f"  {version}: {answers} answers, {shoppers.counts.clicked[version] / answers:.1%} of them clicked"
                )
            best = f"the best possible recommendations would be clicked {_best_click_rate(world):.1%} of the time"
            echo(f"failed requests: {shoppers.counts.failed_requests}; {best}")
            return str(shop.shop_context.rollouts.list_rollouts()[0]["state"])
    finally:
        for process in (operate, serve):
            process.terminate()
            process.wait(30)
        shop.shop_context.engine.dispose()


def build_simulated_shop(folder: Path, world: World, minutes: float, echo: Callable[[str], None]) -> Shop:
    """The shop of ``world``, trained unless it is there already, with settings for a drill of so many minutes."""
    shop = Shop(folder)
    if shop.shop_context.registry.champion("recommend")[0] is None:
        files = write_input_files(world, folder / "source")
        shop.ingest(
            products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]], ads=[files["ads"]]
        )
        for scenario, release in shop.fit("recommend", "search").items():
            echo(f"{scenario}: {release.version} {release.outcome}" if release else f"{scenario}: nothing new")
    write_bytes(folder / "vetrina.toml", _DRILL_SETTINGS.format(cap=minutes / (24 * 60)).encode())
    return Shop(folder)


class _DecisionReporter:
    """Says each decision of the newest release once."""

    def __init__(self, shop: Shop, echo: Callable[[str], None]) -> None:
        self._shop = shop
        self._echo = echo
        self._n_reported = 0

    def has_ended(self) -> bool:
        """Whether the release has ended."""
        newest = self._shop.shop_context.rollouts.list_rollouts()[0]
        log = self._shop.shop_context.rollouts.decision_log(newest["release"])
        for entry in log[self._n_reported :]:
            reasons = entry.decision.reasons
            speaks = [r.text for r in reasons if not r.passed] or [r.text for r in reasons]
            self._echo(f"{entry.decision.action}: {'; '.join(speaks)}")
        self._n_reported = len(log)
        return newest["state"] != "running"


def _send_visits(shoppers: SimulatedUsers, seconds: float, has_ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    asked = time.monotonic()
    while time.monotonic() < deadline:
        shoppers.visit()
        if time.monotonic() - asked > 1:
            asked = time.monotonic()
            if has_ended():
                return


def _best_click_rate(world: World) -> float:
    chances = [1 - float((1 - world.click_probability(u, world.best_products(u))).prod()) for u in range(world.users)]
    return sum(chances) / len(chances)
