"""The vector index against exact products."""

import numpy as np
import pytest

from vetrina.bundle.dense import write
from vetrina.bundle.dense.read import DenseIndex
from vetrina.bundle.dense.write import write_dense_index


@pytest.fixture
def vectors() -> np.ndarray:
    """Unit vectors in clumps, as texts are."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 64)).repeat(50, axis=0) + 0.4 * rng.standard_normal((2_000, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["exact", "lists"])
def built(request, monkeypatch, tmp_path):
    """Builds an index of one kind."""
    few = 10_000 if request.param == "exact" else 100
    monkeypatch.setattr(write, "_MAX_EXACT_VECTORS", few)
    monkeypatch.setattr(write, "_NLIST", 32)
    monkeypatch.setattr(write, "_NPROBE", 8)

    def build(vectors: np.ndarray) -> DenseIndex:
        write_dense_index(vectors, tmp_path / "index")
        return DenseIndex(tmp_path / "index")

    return build


def test_finds_nearly_the_true_neighbours_best_first(vectors, built):
    index = built(vectors)
    right = 0
    for row in range(0, 2_000, 100):
        items, products = index.nearest(vectors[row], 10)
        assert items[0] == row
        assert (np.diff(products) <= 0).all()
        right += len(set(items) & set(np.argsort(-(vectors @ vectors[row]))[:10]))
    assert right / 200 > 0.9


def test_equal_vectors_give_an_equal_file_and_more_than_there_is_is_no_error(vectors, tmp_path):
    for name in ("a", "b"):
        write_dense_index(vectors[:7], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(DenseIndex(tmp_path / "a").nearest(vectors[0], 50)[0]) == 7


def test_vectors_of_chosen_rows(vectors, built):
    index = built(vectors)
    rows = np.array([7, 1_999, 7, 0], np.int32)
    assert index.width == vectors.shape[1]
    assert index.vectors(rows) == pytest.approx(vectors[rows], abs=0.02)
    assert index.vectors(rows[:0]).shape == (0, vectors.shape[1])
