"""Models that count: EASE beside its formula, and the sessions of session neighbours."""

import numpy as np
import pytest
from scipy import sparse

from vetrina.models.ease.train import solve_ease
from vetrina.models.sessions.train import session_ids


def test_ease_is_its_formula():
    taste = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    inverse = np.linalg.inv(taste.T @ taste + 2.0 * np.eye(6))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    assert solve_ease(sparse.csr_array(taste), 2.0) == pytest.approx(expected, abs=1e-3)


def test_a_visit_ends_after_half_an_hour_of_nothing():
    user = np.array([0, 0, 0, 1], np.int32)
    time = np.array([0.0, 60.0, 4_000.0, 4_001.0])
    assert session_ids(user, time, 1_800.0).tolist() == [0, 0, 1, 2]
    assert session_ids(user, time, np.inf).tolist() == [0, 0, 0, 1]
