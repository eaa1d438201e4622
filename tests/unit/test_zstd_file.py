"""Squeezed files come back as they were, and broken ones say so."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.bundle import zstd_file
from vetrina.core.errors import UnusableVariant

WEIGHTS = np.random.default_rng(0).normal(0, 9, 200_000).astype(np.int8).tobytes()


@pytest.mark.parametrize("data", [WEIGHTS, b"", b"x"])
def test_what_was_written_comes_back_and_equal_data_give_an_equal_file(data: bytes, tmp_path: Path):
    for name in ("a", "b"):
        zstd_file.write(tmp_path / name, data)
        assert zstd_file.read(tmp_path / name) == data
    assert (tmp_path / "a.zst").read_bytes() == (tmp_path / "b.zst").read_bytes()
    assert not (tmp_path / "a").exists()


def test_weights_take_the_bits_that_they_tell(tmp_path: Path):
    zstd_file.write(tmp_path / "weights", WEIGHTS)  # of a spread of 9: 5.2 bits
    assert zstd_file.compressed_path(tmp_path / "weights").stat().st_size < len(WEIGHTS) * 5.4 / 8


@pytest.mark.parametrize(
    ("broken", "why"),
    [(lambda d: d[:-9], "weights.zst ends after"), (lambda d: b"PK" + d, "broken"), (lambda d: d[:3], "broken")],
)
def test_what_is_cut_short_or_of_another_kind_is_refused(broken, why: str, tmp_path: Path):
    zstd_file.write(tmp_path / "weights", WEIGHTS)
    file = zstd_file.compressed_path(tmp_path / "weights")
    file.write_bytes(broken(file.read_bytes()))
    with pytest.raises(UnusableVariant, match=why):
        zstd_file.read(tmp_path / "weights")
