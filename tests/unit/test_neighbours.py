"""Neighbours in fewer bytes: which stay, and what they are worth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.bundle.sparse_rows.read import MIN_NEIGHBOURS, Neighbours, pack, quantise
from vetrina.core.errors import UnusableVariant


def written(folder: Path, lengths: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    folder = folder
    folder.mkdir(exist_ok=True)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    items = np.concatenate([np.empty(0, np.int32), *(rng.permutation(50)[:n] for n in lengths)]).astype(np.int32)
    values = rng.uniform(0.01, 1.0, int(starts[-1])).astype(np.float32)
    for name, array in {"starts": starts, "items": items, "values": values}.items():
        np.save(folder / f"{name}.npy", array)
    return starts, items, values


def scores(folder: Path) -> Callable[[int], np.ndarray]:
    """What a row says of each of the 50 products, by what ``pack`` wrote."""
    opened = Neighbours(folder)
    assert len(opened) == 50
    return lambda row: opened.weighted_sum(np.array([row]), np.ones(1))


def dense(folder: Path) -> Callable[[int], np.ndarray]:
    """The same by what ``quantize`` wrote."""
    starts = PackedIntegers(folder, "starts")[:]
    items, values, scales = (np.load(folder / f"{name}.npy") for name in ("items", "values", "scales"))

    def of(row: int) -> np.ndarray:
        inside = slice(starts[row], starts[row + 1])
        return np.bincount(items[inside], values[inside] * scales[row], minlength=50)

    return of


@pytest.mark.parametrize(("write", "read"), [(pack, scores), (quantise, dense)])
@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(0, 1_000), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_larger_share_of_each_row_stays_at_nearly_its_worth(tmp_path_factory, write, read, lengths, seed, keep):
    root = tmp_path_factory.mktemp("rows")
    starts, items, values = written(root / "float", lengths + [0] * (50 - len(lengths)), seed)
    (root / "small").mkdir()
    write(root / "float", root / "small", keep)
    small = read(root / "small")
    for row in range(50):
        inside = slice(starts[row], starts[row + 1])
        kept = min(len(values[inside]), max(MIN_NEIGHBOURS, int(np.ceil(keep * len(values[inside])))))
        expected = np.zeros(50, np.float32)
        best = np.argsort(-values[inside], kind="stable")[:kept]
        expected[items[inside][best]] = values[inside][best]
        found = small(row)
        np.testing.assert_allclose(found, expected, atol=float(values[inside].max(initial=0.0)) / 255.0)
        assert (found > 0).sum() == kept


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
    for name, array in {"starts": starts, "items": items, "values": worth}.items():
        np.save(tmp_path / "float" / f"{name}.npy", array)
    pack(tmp_path / "float", tmp_path / "small")
    whole = Neighbours(tmp_path / "float")
    small = Neighbours(tmp_path / "small")
    assert len(small) == many
    for rows in ([5], [many - 1], [5, 70_000, many - 1, 5], [0]):
        asked = np.array(rows), np.arange(1.0, 1.0 + len(rows))
        np.testing.assert_allclose(small.weighted_sum(*asked), whole.weighted_sum(*asked), atol=0.02)
    # Rows without any take a byte where their length does, or two.
    assert sum(f.stat().st_size for f in (tmp_path / "small").iterdir()) < 2 * many + 4_000


def test_neighbours_that_are_worth_no_number_are_refused(tmp_path):
    written(tmp_path / "float", [3, *[0] * 49], 1)
    np.save(tmp_path / "float" / "values.npy", np.full(3, np.nan, np.float32))
    (tmp_path / "small").mkdir()
    with pytest.raises(UnusableVariant, match="not finite"):
        pack(tmp_path / "float", tmp_path / "small")
