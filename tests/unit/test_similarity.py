"""How like a product is to what users took, on vectors whose products are known."""

import numpy as np
import pytest

from vetrina.core.types import Interactions
from vetrina.features import similarity
from vetrina.features.similarity import N_LAST_ITEMS, SIMILARITY_FEATURES


def log(rows: list[tuple[int, int, float]], users: int) -> Interactions:
    user, item, time = (np.array(c) for c in zip(*sorted(rows, key=lambda r: r[2]), strict=True))
    names = np.array([f"u{n}" for n in range(users)])
    return Interactions(names, user, item, time, np.ones(len(rows), np.float32), 1_000.0)


def test_the_last_distinct_products_come_newest_first_and_nothing_after_the_moment():
    events = log([(0, 3, 1.0), (0, 5, 2.0), (0, 3, 4.0), (0, 9, 50.0), (2, 1, 3.0)], users=3)
    found = similarity.last_items(events, n_items=10, until=10.0)
    assert found.shape == (3, N_LAST_ITEMS)
    assert found[0, :3].tolist() == [3, 5, -1]
    assert (found[1] == -1).all()
    assert found[2, :2].tolist() == [1, -1]
    many = similarity.last_items(log([(0, n, float(n)) for n in range(150)], users=1), n_items=150, until=1_000.0)
    assert many[0].tolist() == list(range(149, 149 - N_LAST_ITEMS, -1))


def test_columns_are_means_of_the_most_alike_and_some_users_are_rows_of_all():
    vectors = np.eye(4, dtype=np.float32)
    vectors[1] = [0.6, 0.8, 0.0, 0.0]
    last = np.full((3, N_LAST_ITEMS), -1, np.int32)
    last[0, :3] = [2, 1, 0]
    last[1, :2] = [2, 3]
    found = similarity.similarity_features(last, vectors, vectors[0])
    row = dict(zip(SIMILARITY_FEATURES, found.T.tolist(), strict=True))
    assert row["similarity: nearest"] == pytest.approx([1.0, 0.0, 0.0])
    assert row["similarity: best three"] == pytest.approx([1.6 / 3, 0.0, 0.0])
    assert row["similarity: many near"][0] > row["similarity: many near"][1]
    np.testing.assert_allclose(similarity.similarity_features(last[:1], vectors, vectors[0]), found[:1])
    assert similarity.most_similar_item(last, vectors, vectors[0]).tolist()[0] == 0
    assert similarity.most_similar_item(last, vectors, vectors[3]).tolist()[1:] == [3, -1]


def test_few_users_of_many_products_and_many_of_few_are_told_the_same():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    last = rng.integers(-1, 400, (40, N_LAST_ITEMS)).astype(np.int32)
    last[3] = -1
    many = similarity.similarity_features(last, vectors, vectors[7])  # more places than products
    few = np.concatenate(
        [similarity.similarity_features(last[n : n + 2], vectors, vectors[7]) for n in range(0, 40, 2)]
    )
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-5)
    assert many[3].tolist()[:4] == [0.0] * 4
