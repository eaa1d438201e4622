"""What models learn with, on matrices whose answer is known."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vetrina.bundle.sequence_scorer.read import gap_classes
from vetrina.bundle.tree_ensemble.write import write_tree_ensemble
from vetrina.core.types import Interactions
from vetrina.data import truncated_svd
from vetrina.data.cooccurrence import cooccurrence
from vetrina.data.sparse_matrix import top_k_of_dense
from vetrina.models.ease.train import solve_ease
from vetrina.models.sessions.train import session_ids
from vetrina.nn.next_item.embedding_init import positive_mutual_information
from vetrina.ranking import lambdamart


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


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 400), st.integers(1, 12), st.integers(0, 2**16))
def test_the_largest_of_dense_rows_are_those_of_a_full_sort(n_rows, n_columns, k, seed):
    values = np.random.default_rng(seed).standard_normal((n_rows, n_columns)).astype(np.float32)
    top = top_k_of_dense(values, k).toarray()
    for row in range(n_rows):
        largest = np.sort(values[row])[::-1][:k]
        assert sorted(top[row][top[row] > 0]) == sorted(largest[largest > 0])
        columns = np.flatnonzero(top[row])
        assert (top[row][columns] == values[row][columns]).all()


def test_a_rank_beyond_the_matrix_gives_what_there_is():
    values, vectors = truncated_svd.right_singular_vectors(sparse.csr_array(np.eye(3, dtype=np.float32)), 50, seed=0)
    assert values == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors.shape == (3, 3)


def test_cooccurrence_has_a_direction_and_fades_by_steps_but_not_inside_a_basket():
    user = np.array([0, 0, 0, 1, 1], np.int32)
    item = np.array([0, 1, 2, 3, 4], np.int32)
    time = np.array([1.0, 2.0, 3.0, 5.0, 5.0])
    events = Interactions(np.array(["a", "b"]), user, item, time, np.ones(5, np.float32), 9.0)
    found = cooccurrence(events, 5, window=2, decay=0.5, backward_weight=0.25).toarray()
    assert found[0, 1] == 1.0
    assert found[1, 0] == 0.25
    assert found[0, 2] == 0.5
    assert found[3, 4] == found[4, 3] == 1.0


def test_mutual_information_is_nothing_where_products_meet_as_often_as_chance_has_it():
    even = positive_mutual_information(sparse.csr_array(np.ones((3, 3), np.float32)))
    assert even.nnz == 0
    pairs = positive_mutual_information(sparse.csr_array(np.eye(4, dtype=np.float32)))
    assert pairs.toarray() == pytest.approx(np.eye(4) * np.log(4.0))


def test_ease_is_its_formula():
    taste = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    inverse = np.linalg.inv(taste.T @ taste + 2.0 * np.eye(6))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    assert solve_ease(sparse.csr_array(taste), 2.0) == pytest.approx(expected, abs=1e-3)


def test_trees_in_onnx_say_what_lightgbm_says(tmp_path):
    rng = np.random.default_rng(1)
    shown = rng.integers(0, 9, (4_000, 5)).astype(np.float32)  # whole numbers, so that thresholds lie on values
    gains = (shown[:, 0] + shown[:, 3] > 11).astype(np.int32)
    learnt = lambdamart.fit(lambdamart.RankingGroups(shown, gains, np.full(200, 20)), 10, seed=0, threads=1)
    write_tree_ensemble(learnt.trees, tmp_path / "trees.onnx")
    said = onnxruntime.InferenceSession(tmp_path / "trees.onnx").run(None, {"features": shown})[0][:, 0]
    assert said == pytest.approx(learnt.trees.predict(shown), abs=1e-4)
    for start in range(0, 4_000, 400):  # what other lists taught orders a list that was not learnt from
        one = slice(start, start + 20)
        if gains[one].any():
            assert gains[one][np.argmax(learnt.out_of_fold_scores[one])] == 1


def test_a_visit_ends_after_half_an_hour_of_nothing():
    user = np.array([0, 0, 0, 1], np.int32)
    time = np.array([0.0, 60.0, 4_000.0, 4_001.0])
    assert session_ids(user, time, 1_800.0).tolist() == [0, 0, 1, 2]
    assert session_ids(user, time, np.inf).tolist() == [0, 0, 0, 1]


def test_gaps_without_time_say_nothing():
    first = np.array([True, False, False, False])
    assert gap_classes(np.array([5.0, 5.0, 6.0, 6.0 + 1e9]), first).tolist() == [0, 0, 2, 30]


def test_moments_are_told_apart_however_many_users_there_are():
    times = [1.7e9, 1.7e9, 1.7e9 + 1, 1.7e9 + 1]
    user = np.array([200_000, 200_000, 200_000, 200_001], np.int32)
    weight = np.ones(4, np.float32)
    names = np.empty(0, np.str_)
    assert Interactions(names, user, user, np.array(times), weight, 9e9).n_user_timestamps == 3
    assert Interactions(names, user[:0], user[:0], np.empty(0), weight[:0], 9e9).n_user_timestamps == 0
