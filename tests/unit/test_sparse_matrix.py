"""Cutting rows to their strongest, against a sort of every row."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vetrina.data.sparse_matrix import top_k_of_dense, top_k_per_row


@given(st.integers(0, 10_000), st.integers(1, 6) | st.lists(st.integers(1, 9), min_size=7, max_size=7))
def test_keeps_the_largest_in_order_with_ties_by_column(seed, k):
    rng = np.random.default_rng(seed)
    each = [k] * 7 if isinstance(k, int) else k
    dense = rng.integers(0, 5, (7, 9)).astype(np.float32)
    top_rows = top_k_per_row(sparse.csr_array(dense), k if isinstance(k, int) else np.array(k))
    for row in range(7):
        columns = np.flatnonzero(dense[row])
        expected = columns[np.lexsort((columns, -dense[row, columns]))][: each[row]]
        mine = slice(top_rows.indptr[row], top_rows.indptr[row + 1])
        np.testing.assert_array_equal(top_rows.indices[mine], expected)
        np.testing.assert_array_equal(top_rows.data[mine], dense[row, expected])


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
