"""The comparison of two versions: its figures against values worked out by hand, and its rule at the border."""

import numpy as np
import pytest
from benchmarks.no_worse import Difference, difference, holds, ndcg, paired_ndcg


def test_ndcg_of_one_target_is_its_discount():
    assert ndcg(["a", "b", "c"], {"c": 1.0}) == pytest.approx(1 / np.log2(4))
    assert ndcg(["a", "b", "c"], {"a": 1.0}) == 1.0
    assert ndcg(["a", "b", "c"], {"d": 1.0}) == 0.0


def test_ndcg_divides_graded_gains_by_those_of_the_best_list():
    gains = {"a": 7.0, "b": 1.0}
    assert ndcg(["b", "x", "a"], gains) == pytest.approx((1 + 7 / 2) / (7 + 1 / np.log2(3)))
    assert ndcg(["a", "b"], gains) == 1.0


def test_only_the_first_k_places_count_in_the_list_and_in_the_ideal():
    many = {f"p{number}": 1.0 for number in range(30)}
    assert ndcg(list(many), many, k=10) == pytest.approx(1.0), (
        "ten of thirty targets are all that a list of ten can hold"
    )
    assert ndcg(["x"] * 10 + ["p0"], many, k=10) == 0.0


def test_a_product_listed_twice_gains_once():
    assert ndcg(["a", "a"], {"a": 1.0, "b": 1.0}) == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_questions_are_paired_by_name_and_not_by_the_order_of_the_answers():
    gains = {"u1": {"a": 1.0}, "u2": {"b": 1.0}, "u3": {"c": 1.0}}
    answered = {"u3": ["c"], "u1": ["x", "a"], "nobody asked": ["a"]}
    np.testing.assert_allclose(paired_ndcg(gains, answered), [1 / np.log2(3), 0.0, 1.0])


def test_equal_figures_differ_by_exactly_nothing():
    figures = np.random.default_rng(0).random(50)
    assert difference(figures, figures.copy()) == Difference(0.0, 0.0, 0.0)


def test_a_loss_of_the_same_share_everywhere_has_no_spread():
    figures = np.random.default_rng(0).random(50) + 0.1
    interval = difference(0.9 * figures, figures)
    np.testing.assert_allclose([interval.point, interval.low, interval.high], -0.1)


def test_the_interval_is_that_of_the_paired_mean():
    rng = np.random.default_rng(1)
    reference = 1.0 + rng.normal(size=4_000)
    change = 0.02 * rng.normal(size=4_000)
    interval = difference(reference + change, reference)
    half_width = 1.96 * change.std() / np.sqrt(4_000) / reference.mean()
    assert interval.point == pytest.approx(change.mean() / reference.mean())
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.1)


@pytest.mark.parametrize(("candidate", "reference"), [(np.ones(3), np.ones(4)), (np.ones(0), np.ones(0))])
def test_figures_that_are_not_of_the_same_units_are_refused(candidate, reference):
    with pytest.raises(ValueError, match="paired"):
        difference(candidate, reference)


def test_a_reference_that_finds_nothing_is_refused():
    with pytest.raises(ValueError, match="finds nothing"):
        difference(np.ones(3), np.zeros(3))


@pytest.mark.parametrize(
    ("point", "low", "expected"),
    [
        (0.0, 0.0, True),
        (0.02, -0.014, True),
        (-0.005, -0.0149, True),
        (-0.0051, -0.006, False),
        (0.0, -0.015, False),
        (0.01, -0.02, False),
    ],
)
def test_the_rule_wants_a_small_loss_and_a_larger_one_ruled_out(point, low, expected):
    assert holds(Difference(point, low, 0.05)) is expected
