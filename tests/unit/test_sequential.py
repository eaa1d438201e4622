"""Statistics that hold at every look: known answers, unbiasedness, additivity, error rates by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.rollout_types import OutcomeStatistics
from vetrina.evaluation.sequential import (
    confidence_radius,
    estimate_effect,
    log_e_above,
    log_e_below,
    log_e_sample_ratio,
    mixture_likelihood_ratio,
    outcome_statistics,
)


def drawn(rng: np.random.Generator, n: int, share: float, rates: tuple[float, float]) -> OutcomeStatistics:
    canary = rng.random(n) < share
    outcome = (rng.random(n) < np.where(canary, rates[1], rates[0])).astype(float)
    return outcome_statistics(canary, outcome, np.full(n, rates[0]), share)


@given(st.integers(0, 2**32), st.sampled_from([0.01, 0.05, 0.2, 0.5]), st.integers(1, 60))
def test_sums_add_up_however_units_are_cut(seed, share, at):
    rng = np.random.default_rng(seed)
    canary = rng.random(60) < share
    outcome = rng.random(60)
    m = rng.random(60)
    whole = outcome_statistics(canary, outcome, m, share)
    parts = outcome_statistics(canary[:at], outcome[:at], m[:at], share) + outcome_statistics(
        canary[at:], outcome[at:], m[at:], share
    )
    assert whole.units == parts.units
    assert whole.active == parts.active
    for name in ("first", "cross", "second", "totals"):
        assert np.allclose(getattr(whole, name), getattr(parts, name))


def test_the_effect_is_the_difference_of_means_when_nothing_is_expected():
    canary = np.array([True, True, False, False])
    outcome = np.array([1.0, 0.0, 1.0, 1.0])
    seen = outcome_statistics(canary, outcome, np.zeros(4), 0.5)
    assert estimate_effect(seen).point == pytest.approx(0.5 - 1.0)
    assert estimate_effect(seen, margin=0.1).point == pytest.approx(0.5 - 0.9 * 1.0)
    z = np.where(canary, outcome / 0.5, -outcome / 0.5)
    assert estimate_effect(seen).unit_std ** 2 == pytest.approx(0.25**2 * ((z - z.mean()) ** 2).sum() / (4 * 0.25))


def test_an_expectation_that_knows_the_unit_narrows_the_interval():
    rng = np.random.default_rng(1)
    taste = rng.random(4_000)
    canary = rng.random(4_000) < 0.5
    outcome = taste + 0.1 * rng.normal(size=4_000) + 0.05 * canary
    blind = estimate_effect(outcome_statistics(canary, outcome, np.full(4_000, 0.5), 0.5))
    estimate = estimate_effect(outcome_statistics(canary, outcome, taste, 0.5))
    assert confidence_radius(estimate, 0.05) < 0.5 * confidence_radius(blind, 0.05)
    assert abs(estimate.point - 0.05) < confidence_radius(estimate, 0.05)


def test_the_sequence_covers_at_all_looks_at_once():
    missed = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        seen = OutcomeStatistics()
        for look in range(60):
            seen += drawn(rng, 200, (0.05, 0.2, 0.5)[look // 20], (0.1, 0.1))
            if min(seen.units) >= 200 and abs(estimate_effect(seen).point) > confidence_radius(
                estimate_effect(seen), 0.05
            ):
                missed += 1
                break
    assert missed <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_e_values_are_fair_bets_and_grow_against_a_wrong_limit():
    rng = np.random.default_rng(2)
    x = rng.binomial(500, 0.02, size=4_000)
    assert np.mean(np.exp([log_e_above(int(k), 500, 0.02) for k in x])) <= 1.1, "mean at most one under the limit"
    assert np.mean(np.exp([log_e_below(int(k), 500, 0.02) for k in x])) <= 1.1, "and at the limit from the other side"
    assert log_e_below(5, 1_000, 0.02) > np.log(20)
    assert log_e_below(20, 1_000, 0.02) < np.log(20)
    assert log_e_below(0, 0, 0.02) == pytest.approx(0.0)
    assert log_e_above(0, 0, 0.02) == pytest.approx(0.0)
    assert log_e_above(60, 1_000, 0.02) > np.log(100)
    assert log_e_above(5, 1_000, 0.02) < 0
    split = rng.binomial(2_000, 0.2, size=4_000)
    assert np.mean(np.exp([log_e_sample_ratio(int(k), 2_000, 0.2) for k in split])) <= 1.1
    assert log_e_sample_ratio(500, 2_000, 0.2) > np.log(100)
    assert log_e_sample_ratio(300, 2_000, 0.2) > np.log(100)


def test_the_mixture_ratio_is_one_without_units_and_large_for_a_large_effect():
    assert mixture_likelihood_ratio(estimate_effect(OutcomeStatistics()), 0.01) == 1.0
    seen = drawn(np.random.default_rng(3), 20_000, 0.5, (0.05, 0.1))
    assert mixture_likelihood_ratio(estimate_effect(seen), 0.01) > 100
