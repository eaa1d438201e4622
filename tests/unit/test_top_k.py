"""The first of all scores are found without comparing all of them."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vetrina.scenarios.recommend.online import top_k


@given(
    st.integers(0, 4_000), st.integers(0, 120), st.sampled_from(("all", "few", "ties", "none")), st.integers(0, 10_000)
)
def test_they_are_those_of_a_full_sort(count: int, k: int, kind: str, seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=count).astype(np.float32)
    if kind == "ties":
        scores = np.round(scores)
    if kind in ("few", "none"):
        scores[rng.random(count) < (0.95 if kind == "few" else 2.0)] = -np.inf
    rows = top_k(scores, k)
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(scores[rows], np.sort(scores[np.isfinite(scores)])[::-1][:k])
    assert all(a < b for a, b in pairwise(rows.tolist()) if scores[a] == scores[b]), "ties by index"
