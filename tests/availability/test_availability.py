"""A shop on several machines under load: whatever is killed, acknowledged events stay and hardly a request fails."""

import signal
import time
from collections.abc import Iterator

import pytest
from clusters import Cluster, Outcome, cluster

pytestmark = pytest.mark.availability

SECONDS = 22.0  # of load at each fault: more than a thousand requests
WIDE_SECONDS = (
    60.0  # for what takes a second or ten: these machines are busy, benchmarks/availability.py has the figures
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Cluster]:
    """One for all tests, which leave it as it was."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def check(outcome: Outcome, allowed_share: float = 0.001) -> None:
    """No acknowledged event is lost or there twice; at most a share of the requests has failed."""
    assert outcome.n >= 1_000
    assert outcome.n_acknowledged > 100
    assert (outcome.n_lost, outcome.n_doubled) == (0, 0)
    assert outcome.n_failed <= allowed_share * outcome.n, outcome.statuses


def test_services_restarted_one_by_one_fail_no_request(shop):
    check(shop.under_load(shop.restart_services, SECONDS), 0.0)


def test_a_service_is_killed(shop):
    check(shop.under_load(lambda: shop.kill_service(0), SECONDS))
    shop.start_service(0)


def test_the_database_is_restarted(shop):
    check(shop.under_load(shop.restart_database, SECONDS))


def test_a_rollback_reaches_all_services(shop):
    newest = shop.serving(0)["recommend"]

    def roll_back() -> None:
        before, answered_at = shop.rollback()
        assert before != newest
        assert shop.seconds_until_all_serve("recommend", before, answered_at) < WIDE_SECONDS

    check(shop.under_load(roll_back, SECONDS))
    shop.promote(newest)


def test_object_storage_is_away_while_a_version_is_rolled_back(shop):
    """Services that were started anew have never served the version to go back to."""
    newest = shop.serving(0)["recommend"]

    def roll_back() -> None:
        with shop.without_storage():
            before, answered_at = shop.rollback()
            assert shop.seconds_until_all_serve("recommend", before, answered_at) < WIDE_SECONDS
            time.sleep(SECONDS / 3)

    check(shop.under_load(roll_back, SECONDS))
    shop.promote(newest)


def test_the_leading_controller_is_killed(shop):
    leader = shop.leader()
    seconds: list[float] = []

    def kill() -> None:
        shop.controllers[leader].kill()
        shop.controllers[leader].wait()
        seconds.append(shop.seconds_until_lease_moves(leader))

    check(shop.under_load(kill, SECONDS))
    assert seconds[0] < WIDE_SECONDS
    shop.start_controller(leader)


def test_a_leader_that_was_paused_leads_no_more(shop):
    leader = shop.leader()
    shop.controllers[leader].send_signal(signal.SIGSTOP)
    shop.seconds_until_lease_moves(leader)
    shop.controllers[leader].send_signal(signal.SIGCONT)
    shop.until(lambda: shop.log(f"controller{leader}").rstrip().endswith("another controller leads; waiting"))
    assert shop.leader() != leader
