"""Inputs of sequence networks: classes of gaps, and the co-occurrence that embeddings are initialised from."""

import numpy as np
import pytest
from scipy import sparse

from vetrina.bundle.sequence_scorer.read import gap_classes
from vetrina.nn.next_item.embedding_init import positive_mutual_information


def test_mutual_information_is_nothing_where_products_meet_as_often_as_chance_has_it():
    even = positive_mutual_information(sparse.csr_array(np.ones((3, 3), np.float32)))
    assert even.nnz == 0
    pairs = positive_mutual_information(sparse.csr_array(np.eye(4, dtype=np.float32)))
    assert pairs.toarray() == pytest.approx(np.eye(4) * np.log(4.0))


def test_gaps_without_time_say_nothing():
    first = np.array([True, False, False, False])
    assert gap_classes(np.array([5.0, 5.0, 6.0, 6.0 + 1e9]), first).tolist() == [0, 0, 2, 30]
