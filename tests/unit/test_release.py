"""How a version is released: its kind of change, the days that a canary would take, and what follows from both."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.clock import DAY
from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.settings import ReleaseSettings
from vetrina.core.types import Reason, ReleaseResult, Verdict
from vetrina.evaluation.sequential import confidence_radius, estimate_effect, outcome_statistics
from vetrina.release import (
    LiveTraffic,
    TrafficEstimate,
    VersionOrigin,
    days_to_decision,
    decide_release,
    kind_of_change,
)
from vetrina.release.decision_time import shortest_ramp_days, units_to_decision
from vetrina.release.pre_release import PreReleaseLog

SETTINGS = ReleaseSettings()
PASSED = Verdict("v", "judged", "old", "pass", (), 0.01)
MANY = LiveTraffic(5_000, 200_000.0, 9.6)
FEW = LiveTraffic(7, 300.0, 4_321.0)
CLICK_RATE = 0.05


def traffic(units_per_day: float) -> TrafficEstimate:
    """A shop in which one unit in twenty clicks."""
    return TrafficEstimate(units_per_day, CLICK_RATE, CLICK_RATE * (1 - CLICK_RATE), CLICK_RATE)


def decided(
    kind, live: LiveTraffic, champion: str | None = "old", settings: ReleaseSettings = SETTINGS
) -> ReleaseResult:
    return decide_release("recommend", "new", champion, kind, PASSED, live, settings)


@pytest.mark.parametrize(
    ("kind", "champion"),
    [
        ("first", None),
        ("full after quick", VersionOrigin("quick", is_quick=True)),
        ("refresh", VersionOrigin("full")),
        ("change", VersionOrigin("other settings")),
    ],
)
def test_the_kind_of_change_follows_from_how_both_versions_were_made(kind, champion):
    assert kind_of_change(VersionOrigin("full"), champion) == kind


def test_a_quick_version_is_refreshed_by_a_quick_one():
    quick = VersionOrigin("quick", is_quick=True)
    assert kind_of_change(quick, quick) == "refresh"
    assert kind_of_change(VersionOrigin("quick again", is_quick=True), quick) == "change"


def test_without_a_champion_or_without_users_the_verdict_promotes():
    first = decided("first", LiveTraffic(7), champion=None)
    assert (first.mode, first.outcome, first.is_watched) == ("first", "promoted", False)
    for kind in ("refresh", "change", "full after quick"):
        offline = decided(kind, LiveTraffic(0))
        assert (offline.mode, offline.outcome, offline.note) == ("offline", "promoted", "not tested live")
        assert not offline.is_watched, "nobody is there to be watched"
        assert offline.kind == kind


def test_a_refresh_and_the_first_full_recipe_are_promoted_and_watched():
    for kind in ("refresh", "full after quick"):
        release = decided(kind, MANY)
        assert (release.mode, release.outcome, release.is_watched) == ("live", "promoted", True)
        assert "old answers 10% of users" in release.note
    assert "not tested live" in decided("full after quick", MANY).note


def test_a_change_is_tested_where_the_traffic_can_decide_it():
    release = decided("change", MANY)
    assert (release.outcome, release.is_watched) == ("testing", False)
    assert "decision expected in about 10 days with 200,000 users a day" in release.note


def test_a_change_that_cannot_be_decided_is_released_like_a_refresh():
    release = decided("change", FEW)
    assert (release.outcome, release.is_watched) == ("promoted", True)
    assert "cannot be tested live with 300 users a day" in release.note
    assert "4,321 days" in release.note
    assert decided("change", LiveTraffic(7, 1.2)).note.startswith("cannot be tested live with 1 user a day; watched")
    unwatched = decided("change", FEW, settings=ReleaseSettings(holdback_share=0.0))
    assert (unwatched.outcome, unwatched.is_watched) == ("promoted", False)


def test_what_the_gate_refused_meets_nobody():
    reason = Reason("floor:popular", False, "not as good")
    failed = Verdict("v", "judged", "old", "fail", (reason,), 0.01)
    for kind in ("refresh", "change"):
        release = decide_release("recommend", "new", "old", kind, failed, MANY, SETTINGS)
        assert (release.mode, release.outcome, release.is_watched) == ("live", "returned", False)
        assert release.note == "old serves on: not as good"


def test_a_version_that_serves_already_is_not_released_again():
    release = decide_release("recommend", "old", "old", "refresh", PASSED, MANY, SETTINGS)
    assert (release.outcome, release.is_watched) == ("returned", False)


# Days to a decision


def test_the_units_that_are_announced_are_those_that_the_decision_needs():
    """On data with exactly the announced mean and variance, the promotion test passes with them and fails with fewer."""
    n_units = units_to_decision(traffic(1.0), SETTINGS)
    radius_shares = []
    for n in (n_units, 0.97 * n_units):
        n_arm = round(n / 2)
        is_candidate = np.arange(2 * n_arm) < n_arm
        outcome = np.zeros(2 * n_arm)
        outcome[: round(n_arm * CLICK_RATE)] = 1.0
        outcome[n_arm : n_arm + round(n_arm * CLICK_RATE)] = 1.0
        statistics = outcome_statistics(is_candidate, outcome, np.full(2 * n_arm, CLICK_RATE), 0.5)
        estimate = estimate_effect(statistics, SETTINGS.margin_clicks)
        radius_shares.append(confidence_radius(estimate, 2 * SETTINGS.alpha) / estimate.point)
    assert radius_shares[0] <= 1.001, "the lower bound is above the margin"
    assert radius_shares[1] > 1.0


def test_days_are_ramp_last_step_and_window():
    units_per_day = 1_000_000.0
    last_step_days = units_to_decision(traffic(units_per_day), SETTINGS) / units_per_day
    days = days_to_decision(traffic(units_per_day), SETTINGS)
    assert days == pytest.approx(shortest_ramp_days(units_per_day, SETTINGS) + last_step_days + 1 / 24)
    assert shortest_ramp_days(units_per_day, SETTINGS) == pytest.approx(5 / 24), "shadow, interleaving and three shares"
    slow_ramp = shortest_ramp_days(100.0, SETTINGS)
    assert slow_ramp == pytest.approx(1 / 24 + 1.0 + 50 / 1 + 50 / 5 + 50 / 20), "fifty units of one in a hundred a day"


def test_without_users_or_outcomes_nothing_is_ever_decided():
    assert days_to_decision(TrafficEstimate(), SETTINGS) == float("inf")
    assert days_to_decision(TrafficEstimate(1_000.0), SETTINGS) == float("inf")
    assert days_to_decision(traffic(1_000.0), ReleaseSettings(margin_clicks=0.0)) == float("inf")


def test_a_wide_margin_still_needs_the_least_units_and_the_least_active_ones():
    wide = ReleaseSettings(margin_clicks=1.0)
    assert units_to_decision(TrafficEstimate(1.0, 1.0, 0.0, 1.0), wide) == 400
    assert units_to_decision(TrafficEstimate(1.0, 0.01, 0.0, 0.01), wide) == 6_000


@given(st.floats(10.0, 1e6), st.floats(1.1, 10.0))
def test_more_users_never_take_longer(units_per_day, factor):
    days = days_to_decision(traffic(units_per_day), SETTINGS)
    assert days_to_decision(traffic(units_per_day * factor), SETTINGS) <= days


def a_log(now: float) -> PreReleaseLog:
    """An empty log of the time before a release of recommend."""
    return PreReleaseLog("recommend", "v1", SETTINGS, (now - SETTINGS.pre_period_days * DAY, now), 1.0)


def visits(now: float) -> tuple[list[Exposure], list[LoggedEvent], dict[str, Exposure]]:
    """Answers that a hundred users saw on four days, two each; the clicks of ten of them, who buy as well; what clicks name."""
    answers = []
    events = []
    for number in range(100):
        for visit in range(2):
            answer = Exposure(
                request_id=f"r{number}-{visit}",
                scenario="recommend",
                version="v1",
                time=now - (1 + number % 4) * DAY + 60.0 * visit,
                arm="champion",
                seconds=0.1,
                user=f"u{number}",
                items=(LoggedItem(1, "p", 1.0),),
            )
            answers.append(answer)
            if number < 10:
                click = LoggedEvent(
                    event_id=f"e{number}-{visit}",
                    user=f"u{number}",
                    session=None,
                    time=answer.time + 1,
                    type="click",
                    product_id="p",
                    request_id=answer.request_id,
                    price=5.0,
                )
                events.append(click)
                events.append(replace(click, type="purchase", time=answer.time + 2))
    named = {answer.request_id: answer for answer in answers}
    return answers, events, named


def test_traffic_counts_each_unit_once_over_the_days_that_there_are():
    now = 20 * DAY
    answers, events, named = visits(now)
    log = a_log(now)
    log.add_answers(answers)
    log.add_events(events, named)
    estimate = log.traffic()
    assert estimate.units_per_day == pytest.approx(100 / 4)
    assert estimate.mean == pytest.approx(0.1)
    assert estimate.variance == pytest.approx(0.09)
    assert estimate.active_share == pytest.approx(0.1)
    assert a_log(now).traffic() == TrafficEstimate()


def test_a_log_in_pieces_says_what_it_says_as_a_whole():
    now = 20 * DAY
    answers, events, named = visits(now)
    answers.append(replace(answers[0], version="v0", request_id="other", user="u500"))
    whole = a_log(now)
    whole.add_answers(answers)
    whole.add_events(events, named)
    pieces = a_log(now)
    for day in range(20):
        pieces.add_answers([answer for answer in answers if answer.time // DAY == day])
        new_events = [event for event in events if event.time // DAY == day]
        pieces.add_events(new_events, {event.request_id: named[event.request_id] for event in new_events})
        pieces.add_events(new_events[:1], named)
    statistics, expected = pieces.statistics()
    of_whole, expected_of_whole = whole.statistics()
    assert statistics.means == pytest.approx({"clicks": 0.1, "conversion": 0.1, "revenue": 1.0})
    assert (statistics.units, statistics.answers, statistics.active["clicks"]) == (100, 200, 10)
    assert statistics.means["clicks"] == of_whole.means["clicks"]
    assert set(expected) == {f"u{number}" for number in range(100)}
    assert expected["u50"] == pytest.approx(expected_of_whole["u50"])
    assert expected["u3"][0] == pytest.approx((2 + 20 * 0.1) / (2 + 20))
    assert pieces.traffic().units_per_day == pytest.approx(101 / 4)
