"""Release drill: a simulated shop with real processes, simulated users over HTTP, and an injected candidate or log fault."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.api.shop import Shop
from vetrina.core.files import write_bytes
from vetrina.simulate.fault_injection import inject_candidate, serve_popularity_baseline
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.simulated_users import SimulatedUsers
from vetrina.simulate.world import World

LOG_FAULTS = ("bots", "dead-feed")
_WARM_UP_SECONDS = 20.0  # of visits before the candidate comes
_RELEASE_CHECK_SECONDS = 1.0  # between two looks at the state of the release
_REQUEST_TIMEOUT_SECONDS = 20.0
_STOP_SECONDS = 30.0  # time for a process to end
_MINUTES_PER_DAY = 24 * 60
# Minutes instead of days: outcomes are attributed after two seconds, steps last five, and only large effects are tested.
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
    """Run a drill to the end of its release.

    Args:
        folder: the simulated shop's folder.
        fault: one of CANDIDATE_KINDS or LOG_FAULTS.
        minutes: longest duration of the release.
        echo: prints a line.

    Returns:
        The state of the release: promoted, rolled back, returned, or running where it did not end in time.
    """
    world = World(products=200, users=3_000, days=15, now=time.time() - 3_600)
    shop = build_simulated_shop(folder, world, minutes, echo)
    candidate_kind = "better" if fault in LOG_FAULTS else fault
    if candidate_kind == "better":
        echo(f"{serve_popularity_baseline(shop)} serves: a popularity baseline")
    headers = {"authorization": f"Bearer {shop.folder.keys.api_token}"}  # as the shop's own server sends events
    service, address = start_command(folder, "serve", "--port", "0")
    controller, _ = start_command(folder, "operate")
    try:
        with httpx.Client(base_url=address, headers=headers, timeout=_REQUEST_TIMEOUT_SECONDS) as client:
            wait_until_ready(client)
            users = SimulatedUsers(world, client, time.time, seed=int(time.time()))
            echo(f"{world.users:,} users visit {address}; no candidate for the first {_WARM_UP_SECONDS:.0f} s")
            _send_visits(users, _WARM_UP_SECONDS, lambda: False)
            candidate = inject_candidate(shop, candidate_kind)
            users.fault = fault if fault in LOG_FAULTS else ""
            echo(f"injected: {candidate} ({fault})")
            reporter = _DecisionReporter(shop, echo)
            _send_visits(users, 60 * minutes, reporter.has_ended)
            reporter.has_ended()  # prints the last decisions
            _print_counts(users, world, echo)
            return str(shop.shop_context.rollouts.list_rollouts()[0].state)
    finally:
        for process in (controller, service):
            process.terminate()
            process.wait(_STOP_SECONDS)
        shop.shop_context.engine.dispose()


def build_simulated_shop(folder: Path, world: World, minutes: float, echo: Callable[[str], None]) -> Shop:
    """A trained shop of a world, with settings for a drill.

    Args:
        folder: the shop's folder; a shop that is there already is not trained again.
        world: products and users of the shop.
        minutes: longest duration of a release.
        echo: prints a line.

    Returns:
        The shop.
    """
    shop = Shop(folder)
    if shop.shop_context.registry.champion("recommend")[0] is None:
        files = write_input_files(world, folder / "source")
        shop.ingest(
            products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]], ads=[files["ads"]]
        )
        for scenario, release in shop.fit("recommend", "search").items():
            if release:
                echo(f"{scenario}: {release.version} {release.outcome}")
            else:
                echo(f"{scenario}: nothing new")
    settings = _DRILL_SETTINGS.format(cap=minutes / _MINUTES_PER_DAY)
    write_bytes(folder / "vetrina.toml", settings.encode())
    return Shop(folder)  # opened again, with these settings


class _DecisionReporter:
    """Prints each decision about the newest release once."""

    def __init__(self, shop: Shop, echo: Callable[[str], None]) -> None:
        self._rollouts = shop.shop_context.rollouts
        self._echo = echo
        self._n_reported = 0

    def has_ended(self) -> bool:
        """Whether the release has ended; prints the decisions since the last call."""
        newest = self._rollouts.list_rollouts()[0]
        log = self._rollouts.decision_log(newest.release)
        for entry in log[self._n_reported :]:
            reasons = entry.decision.reasons
            texts = [reason.text for reason in reasons if not reason.passed]
            if not texts:
                texts = [reason.text for reason in reasons]
            self._echo(f"{entry.decision.action}: {'; '.join(texts)}")
        self._n_reported = len(log)
        return newest.state != "running"


def _send_visits(users: SimulatedUsers, seconds: float, has_ended: Callable[[], bool]) -> None:
    """Visits for so many seconds, or until the release has ended."""
    deadline = time.monotonic() + seconds
    checked = time.monotonic()
    while time.monotonic() < deadline:
        users.visit()
        if time.monotonic() - checked > _RELEASE_CHECK_SECONDS:
            checked = time.monotonic()
            if has_ended():
                return


def _print_counts(users: SimulatedUsers, world: World, echo: Callable[[str], None]) -> None:
    counts = users.counts
    for version, n_answers in counts.answers.items():
        click_rate = counts.clicked[version] / n_answers
        echo(f"  {version}: {n_answers} answers, {click_rate:.1%} of them clicked")
    best = f"the best possible recommendations would be clicked {_best_click_rate(world):.1%} of the time"
    echo(f"failed requests: {counts.failed_requests}; {best}")


def _best_click_rate(world: World) -> float:
    """Mean probability over users that the best possible answer is clicked."""
    probabilities: list[float] = []
    for user in range(world.users):
        click_probability = world.click_probability(user, world.best_products(user))
        probabilities.append(1 - float((1 - click_probability).prod()))
    return sum(probabilities) / len(probabilities)
