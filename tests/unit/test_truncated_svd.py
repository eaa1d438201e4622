"""Truncated SVD beside a full decomposition."""

import numpy as np
import pytest
from scipy import sparse

from vetrina.data import truncated_svd


@pytest.mark.parametrize("short_side", [0, 100])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_singular_vectors_are_those_of_a_full_decomposition(monkeypatch, short_side, shape):
    monkeypatch.setattr(truncated_svd, "_ROWS_PER_BLOCK", 17)  # several pieces
    monkeypatch.setattr(truncated_svd, "_SHORT_SIDE", short_side)
    rng = np.random.default_rng(3)
    rows, columns = shape
    dense = rng.standard_normal((rows, 4)) @ np.diag([9.0, 5.0, 3.0, 1.0]) @ rng.standard_normal((4, columns))
    values, vectors = truncated_svd.right_singular_vectors(sparse.csr_array(dense.astype(np.float32)), 3, seed=0)
    _, expected, directions = np.linalg.svd(dense)
    assert values == pytest.approx(expected[:3], rel=1e-3)
    assert np.abs((vectors.T * directions[:3]).sum(1)) == pytest.approx(np.ones(3), abs=1e-3)
    assert (vectors[np.abs(vectors).argmax(0), np.arange(3)] > 0).all()


def test_a_rank_beyond_the_matrix_gives_what_there_is():
    values, vectors = truncated_svd.right_singular_vectors(sparse.csr_array(np.eye(3, dtype=np.float32)), 50, seed=0)
    assert values == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors.shape == (3, 3)
