"""Auction, pacing, calibration and ledger arithmetic: properties that hold for whatever is bid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.metrics import calibration
from vetrina.metrics.calibration import Calibration, isotonic
from vetrina.scenarios.ads.auction import auction
from vetrina.scenarios.ads.pacing import BUCKETS, coming, pace
from vetrina.simulate import auctions

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
    found = auction(bid, share, chance, quality, campaign, slots, FLOOR)
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
    found = auction(bid, share, chance, quality, campaign, slots, FLOOR)
    for at in range(len(bid)):
        ratio = float(found.ratio[at])
        for factor, wins in ((1.001, True), (0.999, False)):
            tried = share.copy()
            tried[at] = ratio * factor
            if not 0 < tried[at] <= 1.0 or bid[at] < FLOOR:
                continue
            again = auction(bid, tried, chance, quality, campaign, slots, FLOOR)
            full = bid[at] * chance[at] * quality[at]
            if full * ratio > FLOOR * chance[at] * quality[at] * 1.001:  # somebody else is to be beaten
                assert (at in again.order) == wins


def test_the_second_price_is_what_keeps_the_place():
    found = auction(
        np.array([2.0, 1.0]), np.ones(2), np.array([0.1, 0.1]), np.ones(2), np.array([0, 1]), slots=1, floor=FLOOR
    )
    assert found.order.tolist() == [0]
    assert found.price[0] == pytest.approx(1.0)
    quality = auction(
        np.array([2.0, 1.0]), np.ones(2), np.array([0.1, 0.1]), np.array([1.0, 4.0]), np.array([0, 1]), 1, FLOOR
    )
    assert quality.order.tolist() == [1]
    assert quality.price[0] == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
@settings(max_examples=200, deadline=None)
def test_a_pace_would_not_have_spent_more_than_the_rate(seed, rate):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    ratio, spend = rng.choice([0.0, 0.2, 0.5, 0.7, 1.5], n) + rng.choice([0.0, 0.01], n), rng.uniform(0, 1, n)
    found = pace(ratio, spend, rate)
    assert 0.0 <= found.multiplier <= 1.0
    assert 0.0 <= found.share <= 1.0
    won = ratio < found.multiplier
    assert found.share * float(spend[won].sum()) / n <= rate + 1e-9
    if rate >= float(spend[ratio <= 1.0].sum()) / n:
        assert found.multiplier == 1.0


def test_what_comes_is_yesterdays_rest_as_strong_as_the_last_hour():
    yesterday = np.full(BUCKETS, 100.0)
    assert coming(yesterday, yesterday, 43_200.0) == pytest.approx(14_400.0)
    assert coming(yesterday, 2 * yesterday, 43_200.0) == pytest.approx(28_800.0, rel=0.02)
    assert coming(np.zeros(BUCKETS), yesterday, 86_399.0) == pytest.approx(1.0)
    assert coming(yesterday, np.zeros(BUCKETS), 100.0) == pytest.approx(28_766.67, rel=1e-3)


@pytest.mark.parametrize("way", list(auctions.WAYS))
def test_no_way_overspends_and_nothing_beats_hindsight(way):
    before, today = auctions.day(1, places=3_000), auctions.day(2, places=3_000, shock=True)
    budget = 0.2 * float(before.cost.sum())
    played = auctions.WAYS[way](today, before, budget)
    assert 0 < played.spent <= budget + 1e-9
    assert played.worth <= auctions.hindsight(today, budget) + 1e-9


def test_solving_anew_reaches_nearly_all_of_hindsight_through_a_shock():
    before, today = auctions.day(11), auctions.day(12, shock=True)
    budget = 0.2 * float(before.cost.sum())
    assert auctions.solved_anew(today, before, budget).worth > 0.98 * auctions.hindsight(today, budget)


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_isotonic_steps_rise_and_keep_the_mean(seed):
    rng = np.random.default_rng(seed)
    said = rng.uniform(size=int(rng.integers(1, 60)))
    label = (rng.uniform(size=len(said)) < said**2).astype(float)
    found = isotonic(said, label)
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
    twice = calibration.chosen(2 * chance, label)  # a model that says twice as much
    assert twice.x
    assert twice.of(2 * chance).mean() == pytest.approx(label.mean(), rel=0.02)
    assert 0 < twice.of(np.array([0.0]))[0] < 0.05
    assert calibration.chosen(chance[:50], label[:50]) == Calibration()
