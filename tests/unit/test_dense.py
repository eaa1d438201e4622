"""The vector index against exact products."""

import numpy as np
import pytest

from vetrina.retrieval import dense


@pytest.fixture
def vectors() -> np.ndarray:
    """Unit vectors in clumps, as texts are."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((40, 32)).repeat(50, axis=0) + 0.4 * rng.standard_normal((2_000, 32))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_finds_nearly_the_true_neighbours_best_first(vectors, tmp_path, monkeypatch, exact):
    monkeypatch.setattr(dense, "_EXACT_UP_TO", 10_000 if exact else 100)
    monkeypatch.setattr(dense, "_LISTS", 32)
    monkeypatch.setattr(dense, "_PROBES", 8)
    dense.build(vectors, tmp_path / "index")
    index = dense.DenseIndex(tmp_path / "index")
    right = 0
    for row in range(0, 2_000, 100):
        items, products = index.nearest(vectors[row], 10)
        assert items[0] == row
        assert (np.diff(products) <= 0).all()
        right += len(set(items) & set(np.argsort(-(vectors @ vectors[row]))[:10]))
    assert right / 200 > 0.9


def test_equal_vectors_give_an_equal_file_and_more_than_there_is_is_no_error(vectors, tmp_path):
    for name in ("a", "b"):
        dense.build(vectors[:7], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(dense.DenseIndex(tmp_path / "a").nearest(vectors[0], 50)[0]) == 7


@pytest.mark.parametrize("exact", [True, False])
def test_vectors_of_chosen_rows(vectors, tmp_path, monkeypatch, exact):
    monkeypatch.setattr(dense, "_EXACT_UP_TO", 10_000 if exact else 100)
    monkeypatch.setattr(dense, "_LISTS", 32)
    dense.build(vectors, tmp_path / "index")
    index, rows = dense.DenseIndex(tmp_path / "index"), np.array([7, 1_999, 7, 0], np.int32)
    assert index.vectors(rows) == pytest.approx(vectors[rows], abs=0.02)
    assert index.vectors(rows[:0]).shape == (0, vectors.shape[1])
