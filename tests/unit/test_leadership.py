"""Leadership of a controller: what a leader knows without the store, and when it gives up by itself."""

import time
from typing import Any

import pytest

from vetrina.operate import leadership
from vetrina.operate.leadership import LEASE_SECONDS, RENEWAL_SECONDS, Leadership


class Lease:
    """A lease that is granted or not, as a test says, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.is_granted = True
        self.n_asked = 0
        self.is_released = False

    def acquire_or_renew(self) -> int | None:
        self.n_asked += 1
        return 1 if self.is_granted else None

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def clock(monkeypatch) -> Any:
    """Monotonic time that a test moves on."""

    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    moved = Clock()
    monkeypatch.setattr(leadership, "time", moved)
    return moved


def test_the_lease_is_shorter_than_the_promise():
    """Whoever waits asks once a second, and must lead 10 s after the leader is gone."""
    assert LEASE_SECONDS + leadership.ATTEMPT_SECONDS < 10.0
    assert LEASE_SECONDS >= 3 * RENEWAL_SECONDS


def test_a_leader_that_was_paused_knows_that_it_leads_no_more(clock):
    lease: Any = Lease()
    held = Leadership(lease)
    assert held.begin_turn()
    clock.now += LEASE_SECONDS - 0.1
    assert held.is_held
    clock.now += 0.2
    assert not held.is_held, "before it asks anybody"
    lease.is_granted = False
    assert not held.begin_turn()


def test_the_lease_is_not_renewed_at_every_turn(clock):
    lease: Any = Lease()
    held = Leadership(lease)
    for _ in range(10):
        clock.now += RENEWAL_SECONDS / 10
        assert held.begin_turn()
    assert lease.n_asked == 1
    clock.now += RENEWAL_SECONDS
    assert held.begin_turn()
    assert lease.n_asked == 2


def test_it_is_renewed_beside_a_job_that_takes_long_but_not_for_one_that_hangs(monkeypatch):
    monkeypatch.setattr(leadership, "RENEWAL_SECONDS", 0.01)
    lease: Any = Lease()
    held = Leadership(lease)
    assert held.begin_turn()
    held.start()
    deadline = time.monotonic() + 60.0
    while lease.n_asked < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr(leadership, "_MAX_TURN_SECONDS", 0.0)
    time.sleep(0.1)  # the renewal that was under way ends
    n_asked = lease.n_asked
    time.sleep(0.2)
    assert lease.n_asked == n_asked, "the turn takes too long"
    held.close()
    assert lease.is_released
