"""Figures against values worked out by hand, and their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.evaluation.classification import confusion, log_loss, precision_recall_curve, roc_auc, roc_curve
from vetrina.evaluation.ranking import graded_ndcg, mid_ranks, ndcg, recall, reciprocal_rank


def test_ties_get_the_middle_rank():
    scores = np.array([3.0, 1.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(mid_ranks(scores, np.array([0, 1, 3, 4])), [1.0, 3.0, 3.0, 5.0])


def test_ndcg_by_hand():
    assert ndcg(np.array([1.0, 3.0]), 2) == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))
    assert ndcg(np.array([1.0]), 2) < 1.0, "a target that cannot be found counts as missed"
    assert ndcg(np.array([11.0]), 1) == 0.0
    assert ndcg(np.array([]), 0) == 0.0


def test_recall_and_reciprocal_rank():
    assert recall(np.array([1.0, 20.0, 21.0]), 4) == 0.5
    assert reciprocal_rank(np.array([4.0, 2.0])) == 0.5
    assert reciprocal_rank(np.array([25.0])) == 0.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_half_ranks_are_the_mean_rank_over_all_orders_of_ties(values):
    scores = np.array(values, np.float32)
    ranks = mid_ranks(scores, np.arange(len(scores)))
    assert ranks.sum() == pytest.approx(len(scores) * (len(scores) + 1) / 2)
    for value in set(values):
        tied = ranks[scores == value]
        assert (tied == tied[0]).all()
        assert tied[0] == (scores > value).sum() + (len(tied) + 1) / 2


def test_graded_ndcg_by_hand():
    items = np.array([5, 6, 7])
    grades = np.array([3.0, 1.0, 0.0])
    assert graded_ndcg(np.array([5, 6, 7]), items, grades) == 1.0
    assert graded_ndcg(np.array([6, 5]), items, grades) == pytest.approx((1 + 7 / np.log2(3)) / (7 + 1 / np.log2(3)))
    assert graded_ndcg(np.array([1, 2]), items, grades) == 0.0


def test_confusion_by_hand():
    table = confusion(np.array([1, 1, 0, 0, 1.0]), np.array([0.9, 0.4, 0.6, 0.1, 0.5]))
    assert (table.true_positive, table.false_positive, table.true_negative, table.false_negative) == (2, 1, 1, 1)
    assert table.accuracy == 0.6
    assert table.precision == table.recall == table.f1 == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=60))
def test_auc_is_the_share_of_ordered_pairs(rows):
    label = np.array([float(r[0]) for r in rows])
    score = np.array([r[1] / 5 for r in rows])
    positive = score[label > 0]
    negative = score[label == 0]
    if not len(positive) or not len(negative):
        return
    pairs = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert roc_auc(label, score) == pytest.approx(pairs)
    x, y = roc_curve(label, score)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    found_recall, precision = precision_recall_curve(label, score)
    assert found_recall[-1] == 1.0
    assert precision[-1] == pytest.approx(label.mean())


def test_log_loss_by_hand_and_finite_at_the_ends():
    np.testing.assert_allclose(log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.8])), [-np.log(0.8), -np.log(0.2)])
    assert np.isfinite(log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]))).all()


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        interval = mean_interval(rng.normal(1.0, 1.0, 80), repeats=400, seed=seed)
        inside += interval.low <= 1.0 <= interval.high
    assert 180 <= inside <= 199


def test_paired_interval_is_narrower_than_two_apart():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 1, 300)
    interval = paired_difference(base + 0.1, base)
    assert interval.point == pytest.approx(0.1)
    assert interval.high - interval.low < 1e-9
