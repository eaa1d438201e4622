"""Sparse rows in fewer bytes: which values stay, and how exact they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vetrina.bundle.sparse_rows.read import SparseRows
from vetrina.bundle.sparse_rows.write import MIN_KEPT_VALUES, write_compressed_rows, write_rows
from vetrina.core.errors import UnusableVariant

N_COLUMNS = 70  # more than rows, as a shop may have more products than users


def written(folder: Path, lengths: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    columns = [rng.permutation(N_COLUMNS)[:n] for n in lengths]
    items = np.concatenate([np.empty(0, np.int32), *columns]).astype(np.int32)
    values = rng.uniform(0.01, 1.0, int(starts[-1])).astype(np.float32)
    write_rows(sparse.csr_array((values, items, starts), shape=(len(lengths), N_COLUMNS)), folder)
    return starts, items, values


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(0, 1_000), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_larger_share_of_each_row_stays_nearly_as_it_was(tmp_path_factory, lengths, seed, keep):
    root = tmp_path_factory.mktemp("rows")
    starts, items, values = written(root / "float", lengths + [0] * (50 - len(lengths)), seed)
    (root / "small").mkdir()
    write_compressed_rows(root / "float", root / "small", keep)
    small = SparseRows(root / "small")
    assert small.n_columns == N_COLUMNS
    for row in range(50):
        inside = slice(starts[row], starts[row + 1])
        n_kept = min(len(values[inside]), max(MIN_KEPT_VALUES, int(np.ceil(keep * len(values[inside])))))
        expected = np.zeros(N_COLUMNS, np.float32)
        best = np.argsort(-values[inside], kind="stable")[:n_kept]
        expected[items[inside][best]] = values[inside][best]
        sums = small.weighted_sum(np.array([row]), np.ones(1))
        np.testing.assert_allclose(sums, expected, atol=float(values[inside].max(initial=0.0)) / 255.0)
        assert (sums > 0).sum() == n_kept


def test_few_rows_among_many_products_take_little_and_say_the_same(tmp_path):
    rng = np.random.default_rng(3)
    many = 140_000
    lengths = np.zeros(many, np.int64)
    lengths[[5, 70_000, many - 1]] = 400, 3, 7
    starts = np.append(0, np.cumsum(lengths))
    items = np.concatenate([rng.choice(many, n, replace=False) for n in lengths[lengths > 0]]).astype(np.int32)
    items[-3:] = 0, 65_536, many - 1
    (tmp_path / "float").mkdir()
    (tmp_path / "small").mkdir()
    worth = rng.uniform(0.5, 1.0, len(items)).astype(np.float32)
    write_rows(sparse.csr_array((worth, items, starts), shape=(many, many)), tmp_path / "float")
    write_compressed_rows(tmp_path / "float", tmp_path / "small")
    whole = SparseRows(tmp_path / "float")
    small = SparseRows(tmp_path / "small")
    for rows in ([5], [many - 1], [5, 70_000, many - 1, 5], [0]):
        basket = np.array(rows), np.arange(1.0, 1.0 + len(rows))
        np.testing.assert_allclose(small.weighted_sum(*basket), whole.weighted_sum(*basket), atol=0.02)
    # Rows without any take a byte where their length does, or two.
    assert sum(f.stat().st_size for f in (tmp_path / "small").iterdir()) < 2 * many + 4_000


def test_neighbours_that_are_worth_no_number_are_refused(tmp_path):
    written(tmp_path / "float", [3, *[0] * 49], 1)
    np.save(tmp_path / "float" / "values.npy", np.full(3, np.nan, np.float32))
    (tmp_path / "small").mkdir()
    with pytest.raises(UnusableVariant, match="not finite"):
        write_compressed_rows(tmp_path / "float", tmp_path / "small")
