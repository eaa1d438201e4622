"""Figures of lists, worked out by hand."""

import numpy as np
import pytest

from vetrina.evaluation.beyond_accuracy import beyond_accuracy_metrics

COUNTS = np.array([6.0, 2.0, 0.0, 0.0])


def test_by_hand():
    metrics = beyond_accuracy_metrics([np.array([0, 1]), np.array([0, 2])], COUNTS, np.array([5, 5, 9, 9]))
    assert metrics.coverage == 0.75
    assert metrics.diversity == 0.5
    share = np.array([7.0, 3.0, 1.0, 1.0]) / 12.0
    assert metrics.novelty == pytest.approx(-np.log2(share[[0, 1, 0, 2]]).mean())
    assert metrics.popularity_bias == pytest.approx(np.mean([3.5, 2.5, 3.5, 1.0]) / 4)


def test_the_most_popular_alone_is_the_most_biased_and_the_least_novel():
    top, tail = (beyond_accuracy_metrics([np.array([i])], COUNTS, np.zeros(4, int)) for i in (0, 3))
    assert top.popularity_bias > tail.popularity_bias
    assert top.novelty < tail.novelty


def test_no_lists_no_figures():
    assert np.isnan(beyond_accuracy_metrics([], COUNTS, np.zeros(4, int)).coverage)
