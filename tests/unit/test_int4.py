"""Rows in 4 bits come back nearly as they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.bundle.quantised_table import int4


@given(st.integers(0, 1_000), st.integers(0, 40), st.sampled_from([16, 32, 48, 64, 128, 192]), st.floats(1e-4, 1e4))
@settings(max_examples=60, deadline=None)
def test_no_number_is_off_by_more_than_half_a_step_of_the_widest_clip(seed, rows, width, size):
    given_rows = (np.random.default_rng(seed).normal(size=(rows, width)) * size).astype(np.float32)
    pairs, scales = int4.quantise(given_rows)
    block = int4.block_size_of(width)
    assert pairs.shape == (rows, width // block, block // 2)
    assert pairs.dtype == np.uint8
    back = int4.dequantise(pairs, scales)
    assert back.shape == given_rows.shape
    largest = np.abs(given_rows).reshape(rows, width // block, block).max(axis=2)
    error = ((back - given_rows) ** 2).reshape(rows, width // block, block).sum(axis=2)
    assert (error <= block * (largest / 14 * 1.001) ** 2).all()  # as without a clip


def test_whole_steps_come_back_as_they_were_and_zeros_stay_zeros():
    rows = np.arange(-7, 9, dtype=np.float32)[None].repeat(3, axis=0)
    rows[:, -1] = 7.0
    rows[2] = 0.0
    np.testing.assert_allclose(int4.dequantise(*int4.quantise(rows)), rows, atol=1e-5)


@pytest.mark.parametrize(("width", "block"), [(16, 16), (48, 16), (96, 32), (128, 64), (10, 0), (40, 0)])
def test_blocks_divide_the_width(width, block):
    assert int4.block_size_of(width) == block
