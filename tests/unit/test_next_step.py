"""Decisions about a release among shoppers: what never promotes, what rolls back, what ends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.core.rollout import CANARY, Before, Limits, LogHealth, Rollout, Seen, Shadow, StepSeen, Sums, Tally
from vetrina.core.settings import Releases
from vetrina.metrics.sequential import sums
from vetrina.release.live import limits, next_step

RULES = Releases()
HOUR = 3_600.0
BEFORE = Before(
    10_000, 20_000, {"clicks": 1_000, "conversion": 500}, {"clicks": 0.1, "conversion": 0.05}, 10.0, 0.0, 0.01
)
LAST = Rollout("r", "recommend", "b", "a", "salt", 0.0, 0.0, RULES.steps, step=3, limits=Limits(0.001, 0.015))


def clicks(n: int, rates: tuple[float, float], share: float = 0.5) -> Sums:
    """Exactly the rates, so that nothing is left to chance."""
    n1 = round(n * share)
    canary = np.arange(n) < n1
    outcome = np.zeros(n)
    outcome[: round(n1 * rates[1])] = 1
    outcome[n1 : n1 + round((n - n1) * rates[0])] = 1
    return sums(canary, outcome, np.full(n, 0.1), share)


def seen(n: int = 400_000, rates: tuple[float, float] = (0.1, 0.11), **other) -> Seen:
    half = (n // 2, n // 2)
    step = StepSeen(0.5, half, Tally(half, (0, 0), (n // 200, n // 200)), LAST.limits)
    found = Seen(
        2 * HOUR,
        {"clicks": clicks(n, rates)} if n else {},
        (step,),
        Shadow(500, 0, 0, 250.0),
        LogHealth(1_000, 0, 0, 0),
    )
    return replace(found, **other)


def decided(rollout: Rollout = LAST, evidence: Seen | None = None, now: float = 2 * HOUR, before: Before = BEFORE):
    return next_step(rollout, before, seen() if evidence is None else evidence, RULES, now)


def test_a_better_candidate_is_promoted_at_the_last_step():
    assert decided().action == "promote"


@pytest.mark.parametrize(
    ("why", "evidence"),
    [
        ("zero traffic", Seen(2 * HOUR)),
        ("missing metric", seen(outcomes={})),
        ("no click at all", seen(rates=(0.0, 0.0))),
        ("half the answers missing", seen(log=LogHealth(1_000, 500, 0, 0))),
        ("half the clicks missing", seen(rates=(0.05, 0.055))),
        ("clocks ten minutes apart", seen(log=LogHealth(1_000, 0, 900, 0))),
        ("doubled events", seen(log=LogHealth(1_000, 0, 0, 400))),
        ("too few units", seen(n=300)),
        (
            "slow by the margin, though better",
            seen(steps=(StepSeen(0.5, (9, 9), Tally((9, 9_000), (0, 0), (0, 135)), LAST.limits),)),
        ),
        ("as good, but not shown", seen(n=20_000, rates=(0.1, 0.1))),
    ],
)
def test_what_is_unclear_never_promotes_and_is_returned_at_the_cap(why, evidence):
    assert decided(evidence=evidence).action == "stay", why
    late = decided(evidence=evidence, now=15 * 24 * HOUR)
    assert late.action == "return", why
    assert any(not r.passed for r in late.reasons)


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        ("worse:clicks", seen(rates=(0.1, 0.09))),
        (
            "worse:conversion",
            seen(outcomes={"clicks": clicks(400_000, (0.1, 0.1)), "conversion": clicks(400_000, (0.05, 0.04))}),
        ),
        ("worse:clicks", seen(rates=(0.1, 0.0))),
        ("faults", seen(steps=(StepSeen(0.5, (500, 500), Tally((500, 500), (0, 20), (0, 0)), LAST.limits),))),
        ("slow", seen(steps=(StepSeen(0.5, (500, 500), Tally((500, 500), (0, 0), (5, 60)), LAST.limits),))),
        ("sample-ratio", seen(steps=(StepSeen(0.5, (5_000, 4_400), Tally((9, 9)), LAST.limits),))),
    ],
)
def test_what_is_shown_worse_is_rolled_back_at_any_time(code, evidence):
    for now in (2 * HOUR, 15 * 24 * HOUR, 1.0):
        found = decided(evidence=evidence, now=now)
        assert found.action == "roll back"
        assert code in [r.code for r in found.reasons]


def test_a_candidate_that_fails_in_the_shadow_meets_nobody():
    shadow = replace(LAST, step=-1)
    assert decided(shadow, seen(n=0, shadow=Shadow(300, 0, 0, 150.0))).action == "advance"
    assert decided(shadow, seen(n=0, shadow=Shadow(300, 9, 0, 150.0))).action == "roll back"
    assert decided(shadow, seen(n=0, shadow=Shadow(10, 0, 0, 5.0))).action == "stay"


def test_a_step_needs_its_time_and_its_units():
    first = replace(LAST, step=0, stepped=HOUR)
    step = StepSeen(0.01, (5_000, 50), Tally(), LAST.limits)
    assert decided(first, seen(steps=(step,)), now=1.5 * HOUR).action == "stay"
    assert decided(first, seen(steps=(step,)), now=2.5 * HOUR).action == "advance"
    assert decided(first, seen(steps=(replace(step, units=(990, 10)),)), now=2.5 * HOUR).action == "stay"


def test_limits_come_from_the_champion_and_before():
    found = limits(BEFORE, seen(), RULES)
    assert found.faults == pytest.approx(0.001)
    assert found.slow == pytest.approx(0.01 + 0.005)
    assert limits(BEFORE, Seen(0.0), RULES).slow == pytest.approx(0.015)
    busy = seen(steps=(StepSeen(0.2, (9, 9), Tally((20_000, 9), (0, 0), (600, 0)), LAST.limits),))
    assert limits(BEFORE, busy, RULES).slow == pytest.approx((200 + 600) / 40_000 + 0.005)


@given(st.text(min_size=1, max_size=20), st.integers(0, 3))
@settings(max_examples=300)
def test_a_unit_stays_with_the_candidate_as_the_share_grows(unit, step):
    arms = [replace(LAST, step=s).arm(unit, None) for s in range(4)]
    if arms[step] == CANARY:
        assert all(a == CANARY for a in arms[step:])


def test_shares_are_kept_and_salts_reshuffle():
    units = [f"u{i}" for i in range(20_000)]
    first, other = replace(LAST, step=1), replace(LAST, step=1, salt="other")
    met = [first.arm(u, None) == CANARY for u in units]
    again = [other.arm(u, None) == CANARY for u in units]
    assert np.mean(met) == pytest.approx(0.05, abs=0.006)
    assert np.mean(np.array(met) & np.array(again)) < 0.006
    assert first.arm(None, None) is None
    assert first.arm(None, "s") in ("champion", CANARY)
    assert replace(LAST, step=-1).arm("u", None) is None
