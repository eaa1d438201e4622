"""A shop on several machines, of which any one is killed under load.

Three services that began as replicas with settings and keys alone, two controllers, PostgreSQL (from a wheel) and object storage
(moto) behind HAProxy with deploy/haproxy/haproxy.cfg, all of them on one machine. The shop has 40 products; requests arrive in a
Poisson process over the proxy, half recommend, three tenths search, two tenths events, each event in a request of its own with an
event_id. A client waits 10 s for an answer. Failed is whatever is not answered with 2xx; acknowledged events are looked up by
their ids afterwards. The database is restarted as after a crash (pg_ctl -m immediate). Object storage is stopped with SIGSTOP, so
that it hangs. Times of rollback count from the answer to the operator until the slowest service serves the other version; times
of the lease from SIGKILL of the leading controller until another one holds it. Two cores serve all of it, so times are upper
bounds.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import heading, note, row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
_SECONDS = 30.0  # of load at each fault
_REPEATS = 3  # of faults that take a time
_NAMES = {1: "timed out", 2: "cut off", 3: "without a free connection"}
_GOAL = "goal at most 0.1 % failed, none lost, none doubled"


def main() -> None:
    """Each fault under load, then the times."""
    from clusters import cluster  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch)) as shop:
        heading("Under load, 50 requests a second")
        _report(shop, "no fault", lambda: None, "for comparison")
        _report(shop, "services restarted one by one (SIGTERM)", shop.restart_services, "goal none failed")
        _report(shop, "a service killed (SIGKILL)", lambda: shop.kill_service(0), _GOAL)
        shop.start_service(0)
        _report(shop, "the database restarted", shop.restart_database, _GOAL)
        rollbacks: list[float] = []
        _report(shop, "a rollback", lambda: _roll_back_and_forth(shop, rollbacks), _GOAL)
        rollbacks_without_storage: list[float] = []

        def roll_back_without_storage() -> None:
            with shop.without_storage():
                _roll_back_and_forth(shop, rollbacks_without_storage)

        _report(shop, "object storage hangs, a rollback meanwhile", roll_back_without_storage, _GOAL)
        moves: list[float] = []
        _report(shop, "the leading controller killed (SIGKILL)", lambda: _kill_leaders(shop, moves), _GOAL)
        heading("Times")
        row("until all services follow a rollback", _times(rollbacks), "goal 1 s")
        row("the same while object storage hangs", _times(rollbacks_without_storage), "goal 1 s")
        row("until another controller holds the lease", _times(moves), "goal 10 s")
        note("Times are of each repetition, in seconds.")


def _report(shop: Any, what: str, fault: Callable[[], object], goal: str) -> None:
    outcome = shop.under_load(fault, _SECONDS)
    kinds = ", ".join(f"{outcome.statuses.count(status)} {_name(status)}" for status in sorted(set(outcome.statuses)))
    failed = f"{outcome.n_failed:,} of {outcome.n:,} failed ({100 * outcome.n_failed / outcome.n:.2f} %)"
    if kinds:
        failed += f": {kinds}"
    events = f"{outcome.n_acknowledged:,} events acknowledged, {outcome.n_lost} lost, {outcome.n_doubled} doubled"
    row(what, f"{failed}; {events}; slowest answer {outcome.slowest:.2f} s", goal)


def _name(status: int) -> str:
    return _NAMES.get(status, f"with status {status}")


def _roll_back_and_forth(shop: Any, seconds: list[float]) -> None:
    newest = shop.serving(0)["recommend"]
    for _ in range(_REPEATS):
        before, answered_at = shop.rollback()
        seconds.append(shop.seconds_until_all_serve("recommend", before, answered_at))
        shop.promote(newest)


def _kill_leaders(shop: Any, seconds: list[float]) -> None:
    for _ in range(_REPEATS):
        leader = shop.leader()
        shop.controllers[leader].kill()
        shop.controllers[leader].wait()
        seconds.append(shop.seconds_until_lease_moves(leader))
        shop.start_controller(leader)
        time.sleep(1.0)


def _times(seconds: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in seconds)
