"""Cutting rows to their strongest, against a sort of every row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from vetrina.data.sparse_matrix import top_k_per_row


@given(st.integers(0, 10_000), st.integers(1, 6) | st.lists(st.integers(1, 9), min_size=7, max_size=7))
def test_keeps_the_largest_in_order_with_ties_by_column(seed, k):
    rng = np.random.default_rng(seed)
    each = [k] * 7 if isinstance(k, int) else k
    dense = rng.integers(0, 5, (7, 9)).astype(np.float32)
    found = top_k_per_row(sparse.csr_array(dense), k if isinstance(k, int) else np.array(k))
    for row in range(7):
        columns = np.flatnonzero(dense[row])
        expected = columns[np.lexsort((columns, -dense[row, columns]))][: each[row]]
        mine = slice(found.indptr[row], found.indptr[row + 1])
        np.testing.assert_array_equal(found.indices[mine], expected)
        np.testing.assert_array_equal(found.data[mine], dense[row, expected])
