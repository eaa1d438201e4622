"""Moments, distances and findings, on draws whose distribution is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vetrina.core.health_types import Moments
from vetrina.data import position_bias
from vetrina.evaluation import drift
from vetrina.evaluation.moments import moments

ROWS = arrays.arrays(float, st.tuples(st.integers(2, 30), st.integers(1, 4)), elements=st.floats(-5, 5))


@given(ROWS, st.integers(0, 2**32 - 1))
def test_moments_are_those_of_numpy_and_add_up(rows, seed):
    unit = np.random.default_rng(seed).integers(0, 5, len(rows))
    computed = moments(unit, rows)
    each = np.array([rows[unit == u].mean(0) for u in np.unique(unit)])
    assert computed.units == len(each)
    assert computed.mean() == pytest.approx(each.mean(0), abs=1e-9)
    assert computed.covariance() == pytest.approx(np.atleast_2d(np.cov(each.T, bias=True)), abs=1e-9)
    half = moments(np.arange(len(rows)), rows)
    twice = half + half
    assert twice.units == 2 * half.units
    assert twice.mean() == pytest.approx(half.mean())
    direction = np.arange(1.0, rows.shape[1] + 1)
    assert half.project(direction).mean() == pytest.approx([rows.mean(0) @ direction])
    assert half.project(direction).covariance()[0, 0] == pytest.approx((rows @ direction).var(), abs=1e-8)


def of(rng: np.random.Generator, n: int, shift: float = 0.0) -> Moments:
    """Three components, the first of them shifted."""
    x = rng.normal(size=(n, 3))
    x[:, 0] += shift
    x[:, 2] = x[:, 1]  # says nothing new: one degree of freedom less
    return moments(np.arange(n), x)


def test_p_values_of_quiet_days_are_uniform_and_of_a_shift_small():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(150):
        days = [(n, of(rng, 400)) for n in range(28)]
        p.append(drift.p_value((28, of(rng, 400)), days))
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)
    assert drift.squared_distance(of(rng, 400), of(rng, 400))[1] == 2
    assert drift.p_value((28, of(rng, 400, shift=0.5)), [(n, of(rng, 400)) for n in range(28)]) < 1e-6


def test_days_that_wobble_widen_the_null():
    rng = np.random.default_rng(4)

    def wobbling(n: int):
        return n, of(rng, 400, shift=rng.normal(0.0, 0.3))

    quiet = [(n, of(rng, 400)) for n in range(28)]
    assert drift.inflation_factor(quiet) < 1.8
    p = [drift.p_value(wobbling(28), [wobbling(n) for n in range(28)]) for _ in range(60)]
    assert np.mean(np.array(p) < 0.01) <= 0.1
    blind = [drift.p_value(wobbling(28), quiet) for _ in range(60)]
    assert np.mean(np.array(blind) < 0.01) > 0.3, "without calibration nearly every day would be an alarm"


def test_days_are_compared_with_their_weekday_once_there_are_two():
    days = [(n, Moments(n, (0.0,), (0.0,))) for n in range(20)]
    assert [m.units for m in drift.comparable_days(21, days)] == [0, 7, 14]
    assert [m.units for m in drift.comparable_days(14, days)] == [0, 7]
    assert len(drift.comparable_days(8, days[:9])) == 8


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.5))
def test_findings_are_those_of_benjamini_and_hochberg(p, rate):
    discoveries = drift.benjamini_hochberg(np.array(p, float), rate)
    ordered = sorted(p)
    last = max((k for k in range(1, len(p) + 1) if ordered[k - 1] <= rate * k / len(p)), default=0)
    assert discoveries.sum() >= last
    assert all(discoveries[i] for i in range(len(p)) if last and p[i] <= ordered[last - 1])
    assert not discoveries.any() or max(np.array(p)[discoveries]) <= rate


def test_position_bias_is_told_from_what_is_wanted():
    rng = np.random.default_rng(5)
    looked = 1.0 / (1.0 + 0.25 * np.arange(10))
    wanted = np.linspace(0.02, 0.3, 8)
    # What is wanted stands high: places are not alike in what they hold, and a plain rate by place is misled.
    impressions = np.round(30_000 * np.exp(-0.3 * np.abs(np.arange(8)[::-1, None] * 10 / 8 - np.arange(10)[None])))
    clicked = rng.binomial(impressions.astype(int), np.outer(wanted, looked))
    bias = position_bias.estimate_position_bias(impressions, clicked.astype(float))
    assert bias.is_estimated
    assert bias.examination == pytest.approx(looked, rel=0.12)
    assert bias.relevance == pytest.approx(wanted, rel=0.12)
    plain = clicked.sum(0) / impressions.sum(0)
    assert np.abs(plain / plain[0] - looked).max() > 0.15
    assert not position_bias.estimate_position_bias(impressions, np.zeros_like(impressions)).is_estimated
