"""Columns come back as they were, and take a byte or two a row where they hold few different numbers."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.bundle import dictionary_encoding

RNG = np.random.default_rng(0)
PRICES = RNG.choice([1.99, 0.1, 3.0, np.nan, 1e9 + 0.01, -0.0, np.inf], 900)


@pytest.mark.parametrize(
    "table",
    [
        PRICES,
        PRICES.astype(np.float32),
        np.column_stack([PRICES, np.zeros(900), RNG.integers(0, 400, 900)]).astype(np.float32),
        RNG.random(900),
        np.column_stack([PRICES, RNG.random(900)]),
        np.full(5, np.nan),
        np.empty(0),
        np.empty((0, 3), np.float32),
    ],
)
def test_what_was_saved_comes_back_as_it_was(table: np.ndarray, tmp_path: Path):
    dictionary_encoding.save(tmp_path, "some", table)
    loaded = dictionary_encoding.load(tmp_path, "some")
    assert (loaded.shape, loaded.dtype) == (table.shape, table.dtype)
    np.testing.assert_array_equal(loaded, table)


def test_few_numbers_take_a_byte_a_row_and_many_lie_as_they_are(tmp_path: Path):
    dictionary_encoding.save(tmp_path, "few", PRICES.repeat(20))
    assert sum(f.stat().st_size for f in tmp_path.glob("few*")) < 900 * 20 + 600
    many = RNG.random(900)
    dictionary_encoding.save(tmp_path, "many", many)
    assert [f.name for f in tmp_path.glob("many*")] == ["many.npy"]
