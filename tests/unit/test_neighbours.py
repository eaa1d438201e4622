"""Neighbours in fewer bytes: which stay, and what they are worth."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.core.errors import Unfit
from vetrina.retrieval.neighbours import LEAST, Neighbours, pack, quantize


def written(folder: Path, lengths: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng, folder = np.random.default_rng(seed), folder
    folder.mkdir(exist_ok=True)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    items = np.concatenate([np.empty(0, np.int32), *(rng.permutation(50)[:n] for n in lengths)]).astype(np.int32)
    values = rng.uniform(0.01, 1.0, int(starts[-1])).astype(np.float32)
    for name, array in {"starts": starts, "items": items, "values": values}.items():
        np.save(folder / f"{name}.npy", array)
    return starts, items, values


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(0, 1_000), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_larger_share_of_each_row_stays_at_nearly_its_worth(tmp_path_factory, lengths, seed, keep):
    root = tmp_path_factory.mktemp("rows")
    starts, items, values = written(root / "float", lengths + [0] * (50 - len(lengths)), seed)
    (root / "small").mkdir()
    (pack if seed % 2 else quantize)(root / "float", root / "small", keep)
    small = Neighbours(root / "small")
    assert len(small) == 50
    for row in range(50):
        inside = slice(starts[row], starts[row + 1])
        kept = min(len(values[inside]), max(LEAST, int(np.ceil(keep * len(values[inside])))))
        expected = np.zeros(50, np.float32)
        best = np.argsort(-values[inside], kind="stable")[:kept]
        expected[items[inside][best]] = values[inside][best]
        found = small.sum(np.array([row]), np.ones(1))
        np.testing.assert_allclose(found, expected, atol=float(values[inside].max(initial=0.0)) / 255.0)
        assert (found > 0).sum() == kept


def test_few_rows_among_many_products_take_little_and_say_the_same(tmp_path):
    rng, many = np.random.default_rng(3), 140_000
    lengths = np.zeros(many, np.int64)
    lengths[[5, 70_000, many - 1]] = 400, 3, 7
    starts = np.append(0, np.cumsum(lengths))
    items = np.concatenate([rng.choice(many, n, replace=False) for n in lengths[lengths > 0]]).astype(np.int32)
    items[-3:] = 0, 65_536, many - 1
    (tmp_path / "float").mkdir()
    (tmp_path / "small").mkdir()
    worth = rng.uniform(0.5, 1.0, len(items)).astype(np.float32)
    for name, array in {"starts": starts, "items": items, "values": worth}.items():
        np.save(tmp_path / "float" / f"{name}.npy", array)
    pack(tmp_path / "float", tmp_path / "small")
    whole, small = Neighbours(tmp_path / "float"), Neighbours(tmp_path / "small")
    assert len(small) == many
    for rows in ([5], [many - 1], [5, 70_000, many - 1, 5], [0]):
        asked = np.array(rows), np.arange(1.0, 1.0 + len(rows))
        np.testing.assert_allclose(small.sum(*asked), whole.sum(*asked), atol=0.02)
    # Rows without any take a byte where their length does, or two.
    assert sum(f.stat().st_size for f in (tmp_path / "small").iterdir()) < 2 * many + 4_000


def test_rows_cut_into_pages_as_bundles_of_before_hold_them_say_the_same(tmp_path):
    """Three rows over 70,000 products: of products 1 and 69,999, of nothing, of product 2."""
    many, rows = 70_000, {0: [1, 69_999], 2: [2]}
    lengths = np.zeros(2 * many, np.int64)
    lengths[[0, 1, 4]] = 1
    arrays = {
        "starts": np.append(0, np.cumsum(lengths)),
        "items": np.array([1, 69_999 - 65_536, 2], np.uint16),
        "values": np.array([255, 51, 255], np.uint8),
        "scales": np.full(many, 1 / 255, np.float32),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    opened = Neighbours(tmp_path)
    assert len(opened) == many
    for row, items in rows.items():
        assert np.flatnonzero(opened.sum(np.array([row]), np.ones(1))).tolist() == items
    assert opened.sum(np.array([0, 1, 2]), np.array([1.0, 9.0, 2.0]))[[1, 2, 69_999]] == pytest.approx([1.0, 2.0, 0.2])


def test_neighbours_that_are_worth_no_number_are_refused(tmp_path):
    written(tmp_path / "float", [3, *[0] * 49], 1)
    np.save(tmp_path / "float" / "values.npy", np.full(3, np.nan, np.float32))
    (tmp_path / "small").mkdir()
    with pytest.raises(Unfit, match="no number"):
        pack(tmp_path / "float", tmp_path / "small")
