"""Auction, pacing, calibration and ledger arithmetic: properties that hold for whatever is bid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.model_selection.calibration import Calibration
from vetrina.model_selection.isotonic_regression import choose_calibration, fit_isotonic
from vetrina.scenarios.ads.auction import run_auction
from vetrina.serve.pacing import BUCKETS_PER_DAY, expected_slots, solve_pace
from vetrina.simulate import pacing_policies

FLOOR = 0.01


@st.composite
def bids(draw):
    n = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return (
        rng.uniform(0.0, 2.0, n), rng.choice([0.0, 0.3, 1.0], n), rng.uniform(0.001, 0.2, n), rng.uniform(0.5, 2.0, n),
        rng.integers(0, 6, n), draw(st.integers(1, 4)),
    )  # fmt: skip


@given(bids())
@settings(max_examples=200, deadline=None)
def test_nobody_pays_more_than_the_bid_or_less_than_the_floor_and_campaigns_stand_once(given_bids):
    bid, share, chance, quality, campaign, slots = given_bids
    found = run_auction(bid, share, chance, quality, campaign, slots, FLOOR)
    value = bid * share * chance * quality
    assert len(found.order) <= slots
    assert (np.diff(value[found.order]) <= 1e-12).all()
    assert (found.price <= bid[found.order] + 1e-12).all()
    assert (found.price >= FLOOR - 1e-12).all()
    assert len(set(campaign[found.order].tolist())) == len(found.order)
    assert (share[found.order] > 0).all()


@given(bids())
@settings(max_examples=200, deadline=None)
def test_an_ad_wins_a_place_from_its_ratio_on(given_bids):
    bid, share, chance, quality, campaign, slots = given_bids
    campaign = np.arange(len(bid))  # each its own
    found = run_auction(bid, share, chance, quality, campaign, slots, FLOOR)
    for at in range(len(bid)):
        ratio = float(found.min_winning_multiplier[at])
        for factor, wins in ((1.001, True), (0.999, False)):
            tried = share.copy()
            tried[at] = ratio * factor
            if not 0 < tried[at] <= 1.0 or bid[at] < FLOOR:
                continue
            again = run_auction(bid, tried, chance, quality, campaign, slots, FLOOR)
            full = bid[at] * chance[at] * quality[at]
            if full * ratio > FLOOR * chance[at] * quality[at] * 1.001:  # somebody else is to be beaten
                assert (at in again.order) == wins


def test_the_second_price_is_what_keeps_the_place():
    found = run_auction(
        np.array([2.0, 1.0]), np.ones(2), np.array([0.1, 0.1]), np.ones(2), np.array([0, 1]), slots=1, floor_price=FLOOR
    )
    assert found.order.tolist() == [0]
    assert found.price[0] == pytest.approx(1.0)
    quality = run_auction(
        np.array([2.0, 1.0]), np.ones(2), np.array([0.1, 0.1]), np.array([1.0, 4.0]), np.array([0, 1]), 1, FLOOR
    )
    assert quality.order.tolist() == [1]
    assert quality.price[0] == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
@settings(max_examples=200, deadline=None)
def test_a_pace_would_not_have_spent_more_than_the_rate(seed, rate):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    ratio = rng.choice([0.0, 0.2, 0.5, 0.7, 1.5], n) + rng.choice([0.0, 0.01], n)
    spend = rng.uniform(0, 1, n)
    found = solve_pace(ratio, spend, rate)
    assert 0.0 <= found.multiplier <= 1.0
    assert 0.0 <= found.participation_share <= 1.0
    won = ratio < found.multiplier
    assert found.participation_share * float(spend[won].sum()) / n <= rate + 1e-9
    if rate >= float(spend[ratio <= 1.0].sum()) / n:
        assert found.multiplier == 1.0


def test_what_comes_is_yesterdays_rest_as_strong_as_the_last_hour():
    yesterday = np.full(BUCKETS_PER_DAY, 100.0)
    assert expected_slots(yesterday, yesterday, 43_200.0) == pytest.approx(14_400.0)
    assert expected_slots(yesterday, 2 * yesterday, 43_200.0) == pytest.approx(28_800.0, rel=0.02)
    assert expected_slots(np.zeros(BUCKETS_PER_DAY), yesterday, 86_399.0) == pytest.approx(1.0)
    assert expected_slots(yesterday, np.zeros(BUCKETS_PER_DAY), 100.0) == pytest.approx(28_766.67, rel=1e-3)


@pytest.mark.parametrize("way", list(pacing_policies.PACING_POLICIES))
def test_no_way_overspends_and_nothing_beats_hindsight(way):
    before = pacing_policies.simulate_day(1, n_slots=3_000)
    today = pacing_policies.simulate_day(2, n_slots=3_000, shock=True)
    budget = 0.2 * float(before.cost.sum())
    played = pacing_policies.PACING_POLICIES[way](today, before, budget)
    assert 0 < played.spent <= budget + 1e-9
    assert played.value <= pacing_policies.optimal_value(today, budget) + 1e-9


def test_solving_anew_reaches_nearly_all_of_hindsight_through_a_shock():
    before = pacing_policies.simulate_day(11)
    today = pacing_policies.simulate_day(12, shock=True)
    budget = 0.2 * float(before.cost.sum())
    assert pacing_policies.re_solved_dual(today, before, budget).value > 0.98 * pacing_policies.optimal_value(
        today, budget
    )


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_isotonic_steps_rise_and_keep_the_mean(seed):
    rng = np.random.default_rng(seed)
    said = rng.uniform(size=int(rng.integers(1, 60)))
    label = (rng.uniform(size=len(said)) < said**2).astype(float)
    found = fit_isotonic(said, label)
    assert (np.diff(found.y) >= 0).all()
    steps = np.searchsorted(found.x, said)
    assert len(steps) == len(said)
    # Least squares over all rows keeps the sum of what turned out true.
    order = np.argsort(said)
    fitted = _steps(said[order], label[order])
    assert fitted.sum() == pytest.approx(label.sum())
    assert sorted(set(np.round(fitted, 9))) == sorted(set(np.round(found.y, 9)))


def _steps(said: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The same by its definition: max over starts of min over ends of means."""
    n = len(label)
    total = np.concatenate([[0.0], np.cumsum(label)])
    return np.array(
        [max(min((total[b] - total[a]) / (b - a) for b in range(i + 1, n + 1)) for a in range(i + 1)) for i in range(n)]
    )


def test_calibration_is_kept_only_where_it_helps():
    rng = np.random.default_rng(3)
    chance = rng.uniform(0.0, 0.5, 4_000)
    label = (rng.uniform(size=4_000) < chance).astype(float)
    twice = choose_calibration(2 * chance, label)  # a model that says twice as much
    assert twice.x
    assert twice.transform(2 * chance).mean() == pytest.approx(label.mean(), rel=0.02)
    assert 0 < twice.transform(np.array([0.0]))[0] < 0.05
    assert choose_calibration(chance[:50], label[:50]) == Calibration()
