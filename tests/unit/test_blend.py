"""Weights of a blend: its NDCG beside that of single lists, and what the search finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation.ranking import mid_ranks, ndcg
from vetrina.model_selection import blend


@given(st.integers(0, 10_000))
def test_blend_counts_what_ranking_counts(seed: int):
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 4, (int(rng.integers(1, 40)), 2)).astype(np.float32) for _ in range(6)]  # with many ties
    gains = [(rng.random(len(rows)) < 0.2).astype(np.float32) for rows in lists]
    wanted = [int(gain.sum()) for gain in gains]
    ideal = [float((1 / np.log2(2.0 + np.arange(min(10, n)))).sum()) for n in wanted]
    weights = np.array([1.0, 0.5], np.float32)
    blended = blend.pad_candidates(lists, gains, ideal).ndcg(weights)
    for rows, gain, relevant, value in zip(lists, gains, wanted, blended, strict=True):
        ranks = mid_ranks(rows @ weights, np.flatnonzero(gain).astype(np.int32))
        assert value == pytest.approx(ndcg(ranks, relevant, 10) if relevant else 0.0)


def test_blend_finds_the_signal_and_never_loses_to_one_alone():
    rng = np.random.default_rng(2)
    features = []
    gains = []
    ideal = []
    for _ in range(50):
        gain = (rng.random(40) < 0.1).astype(np.float32)
        signal = gain + rng.normal(0, 0.5, 40)
        features.append(np.column_stack([rng.random(40), signal]).astype(np.float32))
        gains.append(gain)
        ideal.append(float((1 / np.log2(2.0 + np.arange(min(10, int(gain.sum()))))).sum()))
    units = blend.pad_candidates(features, gains, ideal)
    weights, value = blend.choose_weights(units, [1.0, 0.0])
    assert weights[1] > weights[0]
    assert value >= max(units.ndcg(row).mean() for row in np.eye(2, dtype=np.float32)) - 1e-9
