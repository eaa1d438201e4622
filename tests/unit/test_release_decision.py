"""Decisions about a release among shoppers: what never promotes, what rolls back, what ends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.rollout_types import (
    CANARY,
    CHAMPION,
    HOLDBACK,
    INTERLEAVED,
    INTERLEAVING,
    SHADOW,
    AnswerCounts,
    GuardrailLimits,
    InterleavingEvidence,
    LogHealth,
    OutcomeStatistics,
    PreReleaseStatistics,
    Rollout,
    RolloutEvidence,
    ShadowEvidence,
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.core.types import RankedItem
from vetrina.evaluation.sequential import outcome_statistics
from vetrina.release.decision import decide, guardrail_limits
from vetrina.release.evidence import count_preferences
from vetrina.serve.experiments.interleaving import team_draft

RULES = ReleaseSettings()
HOUR = 3_600.0
BEFORE = PreReleaseStatistics(
    10_000, 20_000, {"clicks": 1_000, "conversion": 500}, {"clicks": 0.1, "conversion": 0.05}, 10.0, 0.0, 0.01
)
LAST = Rollout("r", "recommend", "b", "a", "salt", 0.0, 0.0, RULES.steps, step=3, limits=GuardrailLimits(0.001, 0.015))


def clicks(n: int, rates: tuple[float, float], share: float = 0.5) -> OutcomeStatistics:
    """Exactly the rates, so that nothing is left to chance."""
    n1 = round(n * share)
    canary = np.arange(n) < n1
    outcome = np.zeros(n)
    outcome[: round(n1 * rates[1])] = 1
    outcome[n1 : n1 + round((n - n1) * rates[0])] = 1
    return outcome_statistics(canary, outcome, np.full(n, 0.1), share)


def seen(n: int = 400_000, rates: tuple[float, float] = (0.1, 0.11), **other) -> RolloutEvidence:
    half = (n // 2, n // 2)
    step = StepEvidence(0.5, half, AnswerCounts(half, (0, 0), (n // 200, n // 200)), LAST.limits)
    found = RolloutEvidence(
        2 * HOUR,
        {"clicks": clicks(n, rates)} if n else {},
        (step,),
        ShadowEvidence(500, 0, 0, 250.0),
        LogHealth(1_000, 0, 0, 0),
    )
    return replace(found, **other)


def decided(
    rollout: Rollout = LAST,
    evidence: RolloutEvidence | None = None,
    now: float = 2 * HOUR,
    before: PreReleaseStatistics = BEFORE,
):
    return decide(rollout, before, seen() if evidence is None else evidence, RULES, now)


def test_a_better_candidate_is_promoted_at_the_last_step():
    assert decided().action == "promote"


@pytest.mark.parametrize(
    ("why", "evidence"),
    [
        ("zero traffic", RolloutEvidence(2 * HOUR)),
        ("missing metric", seen(outcomes={})),
        ("no click at all", seen(rates=(0.0, 0.0))),
        ("half the answers missing", seen(log=LogHealth(1_000, 500, 0, 0))),
        ("half the clicks missing", seen(rates=(0.05, 0.055))),
        ("clocks ten minutes apart", seen(log=LogHealth(1_000, 0, 900, 0))),
        ("doubled events", seen(log=LogHealth(1_000, 0, 0, 400))),
        ("too few units", seen(n=300)),
        (
            "slow by the margin, though better",
            seen(steps=(StepEvidence(0.5, (9, 9), AnswerCounts((9, 9_000), (0, 0), (0, 135)), LAST.limits),)),
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
        (
            "faults",
            seen(steps=(StepEvidence(0.5, (500, 500), AnswerCounts((500, 500), (0, 20), (0, 0)), LAST.limits),)),
        ),
        ("slow", seen(steps=(StepEvidence(0.5, (500, 500), AnswerCounts((500, 500), (0, 0), (5, 60)), LAST.limits),))),
        ("sample-ratio", seen(steps=(StepEvidence(0.5, (5_000, 4_400), AnswerCounts((9, 9)), LAST.limits),))),
    ],
)
def test_what_is_shown_worse_is_rolled_back_at_any_time(code, evidence):
    for now in (2 * HOUR, 15 * 24 * HOUR, 1.0):
        found = decided(evidence=evidence, now=now)
        assert found.action == "roll back"
        assert code in [r.code for r in found.reasons]


def test_a_candidate_that_fails_in_the_shadow_meets_nobody():
    shadow = replace(LAST, step=SHADOW)
    assert decided(shadow, seen(n=0, shadow=ShadowEvidence(300, 0, 0, 150.0))).action == "advance"
    assert decided(shadow, seen(n=0, shadow=ShadowEvidence(300, 9, 0, 150.0))).action == "roll back"
    assert decided(shadow, seen(n=0, shadow=ShadowEvidence(10, 0, 0, 5.0))).action == "stay"


def test_a_step_needs_its_time_and_its_units():
    first = replace(LAST, step=0, stepped=HOUR)
    step = StepEvidence(0.01, (5_000, 50), AnswerCounts(), LAST.limits)
    assert decided(first, seen(steps=(step,)), now=1.5 * HOUR).action == "stay"
    assert decided(first, seen(steps=(step,)), now=2.5 * HOUR).action == "advance"
    assert decided(first, seen(steps=(replace(step, units=(990, 10)),)), now=2.5 * HOUR).action == "stay"


def test_limits_come_from_the_champion_and_before():
    found = guardrail_limits(BEFORE, seen(), RULES)
    assert found.faults == pytest.approx(0.001)
    assert found.slow == pytest.approx(0.01 + 0.005)
    assert guardrail_limits(BEFORE, RolloutEvidence(0.0), RULES).slow == pytest.approx(0.015)
    busy = seen(steps=(StepEvidence(0.2, (9, 9), AnswerCounts((20_000, 9), (0, 0), (600, 0)), LAST.limits),))
    assert guardrail_limits(BEFORE, busy, RULES).slow == pytest.approx((200 + 600) / 40_000 + 0.005)


@given(st.text(min_size=1, max_size=20), st.integers(0, 3))
@settings(max_examples=300)
def test_a_unit_stays_with_the_candidate_as_the_share_grows(unit, step):
    arms = [replace(LAST, step=s).arm(unit, None) for s in range(4)]
    if arms[step] == CANARY:
        assert all(a == CANARY for a in arms[step:])


def test_shares_are_kept_and_salts_reshuffle():
    units = [f"u{i}" for i in range(20_000)]
    first = replace(LAST, step=1)
    other = replace(LAST, step=1, salt="other")
    met = [first.arm(u, None) == CANARY for u in units]
    again = [other.arm(u, None) == CANARY for u in units]
    assert np.mean(met) == pytest.approx(0.05, abs=0.006)
    assert np.mean(np.array(met) & np.array(again)) < 0.006
    assert first.arm(None, None) is None
    assert first.arm(None, "s") in ("champion", CANARY)
    assert replace(LAST, step=SHADOW).arm("u", None) is None


def test_the_screen_stops_what_is_liked_less_and_never_promotes():
    screen = replace(LAST, step=INTERLEAVING, screen=0.05, stepped=HOUR)

    def shown(**counts: int):
        return decided(screen, seen(n=0, steps=(), screen=InterleavingEvidence(**counts)))

    assert shown(wins=10, losses=10, ties=30).action == "stay"
    assert shown(wins=60, losses=60).action == "advance"
    assert shown(wins=600, losses=40).action == "advance", "even the best candidate meets shoppers step by step"
    lost = shown(wins=40, losses=160)
    assert lost.action == "roll back"
    assert [r.code for r in lost.reasons] == ["screen"]
    assert shown(wins=49, losses=51).action == "advance", "not shown to be liked less than the margin allows"
    assert shown(answers=500, faults=60).action == "roll back"
    waited = decided(screen, seen(n=0, steps=(), screen=InterleavingEvidence(2, 2)), now=26 * HOUR)
    assert waited.action == "advance", "a shop with few shoppers does not wait for ever"


def test_the_screen_takes_those_who_are_last_to_meet_the_candidate_alone():
    screen = replace(LAST, step=INTERLEAVING, screen=0.05)
    arms = {f"u{i}": screen.arm(f"u{i}", None) for i in range(20_000)}
    assert np.mean([a == INTERLEAVED for a in arms.values()]) == pytest.approx(0.05, abs=0.006)
    assert set(arms.values()) == {INTERLEAVED, None}
    assert not any(LAST.arm(u, None) == CANARY for u, a in arms.items() if a == INTERLEAVED)
    assert replace(LAST, step=SHADOW, screen=0.05).following_step() == INTERLEAVING
    assert replace(LAST, step=SHADOW).following_step() == 0
    assert screen.following_step() == 0


PRODUCTS = st.lists(st.integers(0, 15), unique=True, max_size=12)


@given(PRODUCTS, PRODUCTS, st.integers(1, 10), st.integers(0, 999))
def test_team_draft_is_fair_and_keeps_both_orders(own, other, limit, seed):
    champion, canary = ([RankedItem(str(n), "", 0.0) for n in numbers] for numbers in (own, other))
    mixed = team_draft(champion, canary, limit, np.random.default_rng(seed))
    ids = [i.product_id for i in mixed]
    teams = [i.team for i in mixed]
    assert len(set(ids)) == len(ids) == min(limit, len({*own, *other}))
    for team, source in ((CHAMPION, own), (CANARY, other)):
        picked = [int(i) for i, t in zip(ids, teams, strict=True) if t == team]
        assert picked == [n for n in source if n in picked], "each captain picks in the order of its own list"
    if not {*own} & {*other} and min(len(own), len(other)) >= limit:
        assert abs(teams.count(CHAMPION) - teams.count(CANARY)) <= 1
    if own == other:
        assert set(teams) <= {""}, "equal lists vote for nobody"


def test_a_vote_is_counted_once_and_only_within_its_time():
    items = (
        LoggedItem(1, "a", 1.0, team=CANARY),
        LoggedItem(2, "b", 1.0, team=CHAMPION),
        LoggedItem(3, "c", 1.0),
    )
    answers = []
    for request_id, user, time in (("r1", "u1", 0.0), ("r2", "u2", 0.0), ("r3", "u3", 0.0), ("late", "u3", 99.0)):
        answer = Exposure(
            request_id=request_id, scenario="s", version="v", time=time, arm=INTERLEAVED, user=user, items=items
        )
        answers.append(answer)
    named = {answer.request_id: answer for answer in answers}
    events = []
    for request_id, product_id in (("r1", "a"), ("r1", "a"), ("r1", "b"), ("r2", "b"), ("r3", "c"), ("late", "a")):
        click = LoggedEvent(
            event_id=f"e{len(events)}",
            user="x",
            session=None,
            time=1.0,
            type="click",
            product_id=product_id,
            request_id=request_id,
        )
        events.append(click)
    first = {"u1": 0.0, "u2": 0.0, "u3": 0.0}
    assert count_preferences(first, answers, events, named, 10.0) == (0, 1, 2)
    assert count_preferences(first, answers, events, named, 100.0) == (1, 1, 1)


# The watch of a promoted version

DAY = 24 * HOUR
WATCH = Rollout("w", "recommend", "b", "a", "salt", 0.0, 0.0, (0.9,), 0, LAST.limits, kind="watch")


def watched(n: int = 400_000, rates: tuple[float, float] = (0.1, 0.1), **other) -> RolloutEvidence:
    """Evidence of a watch: the version before answers a tenth."""
    units = (n // 10, n - n // 10)
    step = StepEvidence(0.9, units, AnswerCounts(units, (0, 0), (n // 1_000, n // 100 - n // 1_000)), LAST.limits)
    evidence = RolloutEvidence(2 * HOUR, {"clicks": clicks(n, rates, 0.9)} if n else {}, (step,))
    return replace(evidence, **other)


def a_step(
    answers: tuple[int, int], faults: tuple[int, int] = (0, 0), slow: tuple[int, int] = (0, 0)
) -> RolloutEvidence:
    return watched(n=0, steps=(StepEvidence(0.9, answers, AnswerCounts(answers, faults, slow), LAST.limits),))


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        ("worse:clicks", watched(rates=(0.1, 0.09))),
        ("worse:clicks", watched(rates=(0.1, 0.0))),
        ("faults", a_step((100, 900), faults=(0, 20))),
        ("slow", a_step((100, 900), slow=(1, 90))),
    ],
)
def test_a_watched_version_that_is_shown_worse_is_rolled_back_at_any_time(code, evidence):
    for now in (1.0, 2 * HOUR, 15 * DAY):
        found = decided(WATCH, evidence, now)
        assert found.action == "roll back"
        assert [reason.code for reason in found.reasons] == [code]


@pytest.mark.parametrize(
    "evidence",
    [
        RolloutEvidence(2 * HOUR),
        watched(),
        watched(rates=(0.1, 0.0995)),
        watched(n=1_000, rates=(0.1, 0.0)),
        a_step((100, 900), faults=(5, 45)),
        a_step((100, 900), slow=(10, 90)),
    ],
    ids=[
        "nobody came",
        "equal",
        "worse within the margin",
        "too few",
        "both fail on a bad day",
        "both slow on a busy day",
    ],
)
def test_a_watched_version_that_is_not_shown_worse_stays(evidence):
    assert decided(WATCH, evidence, 2 * HOUR).action == "stay"
    assert decided(WATCH, evidence, 13.9 * DAY).action == "stay"
    assert decided(WATCH, evidence, 14 * DAY).action == "promote"


def test_arms_that_cannot_be_compared_roll_nothing_back():
    """Fewer units than the shares explain: what clicks seem to say is void, but failed answers still count."""
    mismatch = StepEvidence(0.9, (9_000, 40_000), AnswerCounts((9_000, 40_000)), LAST.limits)
    evidence = watched(rates=(0.1, 0.05), steps=(mismatch,))
    found = decided(WATCH, evidence, 2 * HOUR)
    assert found.action == "stay"
    assert "sample-ratio" in [reason.code for reason in found.reasons]
    failing = replace(mismatch, tally=AnswerCounts((9_000, 40_000), (0, 400)))
    assert decided(WATCH, replace(evidence, steps=(failing,)), 2 * HOUR).action == "roll back"


@given(
    st.integers(0, 50_000),
    st.floats(0.0, 0.3),
    st.floats(0.0, 0.3),
    st.integers(0, 500),
    st.integers(0, 500),
    st.floats(0.0, 20 * DAY),
)
@settings(max_examples=200)
def test_a_watch_only_rolls_back_stays_or_keeps(n, rate_before, rate, faults, slow, now):
    """Whatever the evidence: it never advances or returns, keeps only at the cap, and repeats its decision."""
    units = (n // 10, n - n // 10)
    tally = AnswerCounts(units, (0, min(faults, units[1])), (0, min(slow, units[1])))
    evidence = watched(n, (rate_before, rate), steps=(StepEvidence(0.9, units, tally, LAST.limits),))
    found = decided(WATCH, evidence, now)
    assert found == decided(WATCH, evidence, now)
    if found.action == "roll back":
        assert all(not reason.passed for reason in found.reasons)
    else:
        assert found.action == ("promote" if now >= RULES.cap_days * DAY else "stay")


def test_a_watch_holds_a_tenth_back_and_the_champion_answers_the_others():
    arms = [WATCH.arm(f"u{number}", None) for number in range(20_000)]
    assert set(arms) == {CHAMPION, HOLDBACK}
    assert np.mean([arm == HOLDBACK for arm in arms]) == pytest.approx(0.1, abs=0.006)
    assert WATCH.arm(None, None) is None
    assert (WATCH.served_version, WATCH.alternative_version, WATCH.candidate_arm) == ("b", "a", CHAMPION)
    assert (LAST.served_version, LAST.alternative_version, LAST.candidate_arm) == ("a", "b", CANARY)
