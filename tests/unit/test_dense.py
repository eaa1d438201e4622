"""The vector index against exact products."""

import numpy as np
import pytest

from vetrina.bundle.dense import write
from vetrina.bundle.dense.read import DenseIndex
from vetrina.bundle.dense.write import MIN_PQ_VECTORS, is_quantisable, write_dense_index, write_pq_index


@pytest.fixture
def vectors() -> np.ndarray:
    """Unit vectors in clumps, as texts are."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 64)).repeat(50, axis=0) + 0.4 * rng.standard_normal((2_000, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["exact", "lists", "codes", "codes in lists"])
def built(request, monkeypatch, tmp_path):
    """Builds an index of one kind."""
    few, coded = (10_000, 10_000) if request.param in ("exact", "codes") else (100, 100)
    monkeypatch.setattr(write, "_MAX_EXACT_VECTORS", few)
    monkeypatch.setattr(write, "_MAX_FLAT_PQ_VECTORS", coded)
    monkeypatch.setattr(write, "_NLIST", 32)
    monkeypatch.setattr(write, "_NPROBE", 8)

    def build(vectors: np.ndarray) -> DenseIndex:
        write_dense_index(vectors, tmp_path / "index")
        if "codes" in request.param:
            write_pq_index(tmp_path / "index", tmp_path / "small")
            assert (tmp_path / "small").stat().st_size < (tmp_path / "index").stat().st_size
            again = tmp_path / "again"
            write_pq_index(tmp_path / "index", again)
            assert again.read_bytes() == (tmp_path / "small").read_bytes()
            return DenseIndex(tmp_path / "small")
        return DenseIndex(tmp_path / "index")

    return build


def test_finds_nearly_the_true_neighbours_best_first(vectors, built, request):
    index = built(vectors)
    least = 0.85 if "codes" in request.node.name else 0.9  # within a clump 6 bits tell less apart than 8
    right = 0
    for row in range(0, 2_000, 100):
        items, products = index.nearest(vectors[row], 10)
        assert items[0] == row
        assert (np.diff(products) <= 0).all()
        right += len(set(items) & set(np.argsort(-(vectors @ vectors[row]))[:10]))
    assert right / 200 > least


def test_few_vectors_or_ones_of_odd_width_show_no_codes():
    assert is_quantisable(MIN_PQ_VECTORS, 384)
    assert not is_quantisable(MIN_PQ_VECTORS - 1, 384)
    assert not is_quantisable(MIN_PQ_VECTORS, 302)


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
