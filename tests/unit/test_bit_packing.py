"""Whole numbers come back as they were, whatever the largest of them is, and take the bytes that it asks for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers

LARGEST = [
    0,
    1,
    255,
    256,
    511,
    2**10,
    2**12 - 1,
    2**12,
    2**16 - 1,
    2**16,
    2**17,
    2**18 - 1,
    2**20,
    2**24 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**40,
]


@given(st.sampled_from(LARGEST), st.integers(0, 40), st.integers(0, 2**32 - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_place_and_slice_holds_what_was_saved(tmp_path: Path, largest: int, count: int, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, largest, count, endpoint=True)
    if count:
        values[rng.integers(count)] = largest
    for file in tmp_path.iterdir():
        file.unlink()
    bit_packing.save(tmp_path, "some", values)
    opened = PackedIntegers(tmp_path, "some")
    assert len(opened) == count
    assert opened[:].tolist() == values.tolist()
    assert opened[:].dtype == (np.int64 if values.max(initial=0) >= 2**31 else np.int32)
    places = rng.integers(0, count, 7) if count else np.empty(0, np.intp)
    assert opened[places].tolist() == values[places].tolist()
    first, last = sorted(rng.integers(0, count + 1, 2).tolist())
    assert opened[first:last].tolist() == values[first:last].tolist()


@pytest.mark.parametrize(
    ("largest", "bits"),
    [
        (200, 8),
        (500, 9),
        (1_000, 10),
        (4_000, 12),
        (50_000, 16),
        (92_000, 17),
        (200_000, 18),
        (900_000, 20),
        (10**7, 24),
    ],
)
def test_a_number_takes_hardly_more_bits_than_the_largest(tmp_path: Path, largest: int, bits: int):
    values = np.random.default_rng(1).integers(0, largest, 80_000, endpoint=True)
    bit_packing.save(tmp_path, "some", values)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 10_000 * bits + 300
