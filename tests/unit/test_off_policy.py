"""Off-policy values on bandits whose truth is known, and chances that are what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.core.types import Answer, RankedItem, Request
from vetrina.evaluation.off_policy import LoggedSamples, estimate_value
from vetrina.serve.experiments.exploration import keep_order, may_explore, sample_order, widen_request

ARMS = np.array([0.05, 0.1, 0.2, 0.4])


def logged(n: int, policy: np.ndarray, target: np.ndarray, seed: int, model: np.ndarray = ARMS) -> LoggedSamples:
    """n draws of ``policy`` over ARMS, to be valued for ``target``."""
    rng = np.random.default_rng(seed)
    arm = rng.choice(len(ARMS), n, p=policy)
    reward = (rng.random(n) < ARMS[arm]).astype(float)
    expected = np.full(n, float(target @ model))
    return LoggedSamples(np.arange(n), target[arm] / policy[arm], reward, model[arm], expected)


def test_on_policy_every_estimate_is_the_plain_mean():
    even = np.full(4, 0.25)
    samples = logged(2_000, even, even, 1)
    found = estimate_value(samples)
    for estimate in found.estimates:
        assert estimate.point == pytest.approx(found.logged_value, abs=0.01)
    assert found.snips.point == found.logged_value
    assert found.effective_samples == pytest.approx(2_000)
    assert found.support == 1.0


def test_intervals_hold_the_truth_about_as_often_as_they_say_and_the_baseline_tames():
    policy = np.array([0.4, 0.3, 0.2, 0.1])
    target = np.array([0.1, 0.1, 0.2, 0.6])
    truth = float(target @ ARMS)
    held = np.zeros(3)
    widths = np.zeros(3)
    wrong = np.full(4, 0.5)  # a model of the reward that is far off: DR must stay unbiased
    for seed in range(100):
        found = estimate_value(logged(1_500, policy, target, seed, wrong)).estimates
        held += [e.low <= truth <= e.high for e in found]
        widths += [e.high - e.low for e in found]
    assert (held >= 86).all(), held
    ips = [
        np.std(
            [(s.importance_weight * s.reward).mean() for s in (logged(1_500, policy, target, n) for n in range(100))]
        )
    ]
    assert widths[2] / 100 < 4 * ips[0] * 0.95, "beta* varies less than plain IPS"


def test_what_could_not_be_drawn_shows_as_missing_support():
    policy = np.array([0.5, 0.5, 0.0, 0.0])
    target = np.array([0.0, 0.5, 0.5, 0.0])
    rng = np.random.default_rng(2)
    arm = rng.choice(2, 4_000, p=policy[:2])
    w = target[arm] / policy[arm]
    none = np.zeros(4_000)
    found = estimate_value(LoggedSamples(np.arange(4_000), w, none, none, none))
    assert found.support == pytest.approx(0.5, abs=0.05)


def test_samples_of_one_shopper_count_as_one():
    even = np.full(4, 0.25)
    one = logged(400, even, even, 3)
    many = LoggedSamples(
        *(
            np.repeat(a, 25)
            for a in (
                one.unit,
                one.importance_weight,
                one.reward,
                one.logged_reward_estimate,
                one.policy_reward_estimate,
            )
        )
    )
    assert estimate_value(many).snips.high - estimate_value(many).snips.low == pytest.approx(
        estimate_value(one).snips.high - estimate_value(one).snips.low, rel=0.15
    )


def answer(size: int, total: int) -> Answer:
    """Products 0, 1, 2, ... in this order."""
    return Answer(tuple(RankedItem(f"p{i}", "", float(-i)) for i in range(size)), total)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 14), st.floats(0.01, 0.2), st.integers(0, 1_000))
def test_logged_chances_are_those_with_which_products_stand_where_they_stand(limit, total, share, seed):
    rng = np.random.default_rng(seed)
    draws = 4_000
    chance = {}
    seen: dict[tuple[str, int], int] = {}
    for _ in range(draws):
        if rng.random() < share:
            found = sample_order(answer(min(2 * limit, total), total), limit, share, rng)
        else:
            found = keep_order(answer(min(limit, total), total), limit, share)
        assert len(found.items) == min(limit, total)
        for place, item in enumerate(found.items):
            key = (item.product_id, place)
            seen[key] = seen.get(key, 0) + 1
            assert chance.setdefault(key, item.propensity) == pytest.approx(item.propensity)
    for key, count in seen.items():
        expected = chance[key] * draws
        assert abs(count - expected) < 6 * np.sqrt(expected) + 6, (key, count, expected)


def test_an_order_that_the_shopper_chose_is_left_alone():
    assert may_explore(Request(query="x"))
    assert not may_explore(Request(query="x", sort="price"))
    assert not may_explore(Request(query="x", offset=10))
    assert widen_request(Request(limit=7)).limit == 14
