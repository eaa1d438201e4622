"""Coded vectors against the vectors themselves: how far off, how large, which are nearest."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.bundle import transform_coding
from vetrina.bundle.transform_coding import N_INDEXED_AXES, TransformCodedIndex, write


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Unit vectors in clumps, most of which differ along few axes, none of them a column."""
    rng = np.random.default_rng(0)
    sizes = 1.0 / np.sqrt(1.0 + np.arange(160))
    found = rng.standard_normal((60, 160)).repeat(30, axis=0) + 0.4 * rng.standard_normal((1_800, 160))
    found = (found * sizes + 0.3) @ np.linalg.qr(rng.standard_normal((160, 160)))[0]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("fineness", [3.0, 5.5, 8.0, 12.0])
def test_rows_are_as_near_as_is_asked_and_turned_alike(vectors, tmp_path: Path, fineness: float):
    write(vectors, tmp_path, fineness)
    opened = TransformCodedIndex(tmp_path)
    rows = np.array([7, 1_799, 0, 7, 900], np.int32)
    assert len(opened) == 1_800
    assert opened.width == 160
    found = opened.vectors(rows)
    asked = vectors[3]
    assert found.shape == (5, 160)
    # No number is off by more than half a step, but for the leading ones, which lie in 8 bits, and what axes in 16 bits leave.
    step = 6.4 * np.sqrt((vectors**2).mean()) / 2.0**fineness
    turned = np.stack([opened.to_index_space(v) for v in vectors[rows]])
    assert np.abs(found - turned)[:, N_INDEXED_AXES:].max() <= 0.51 * step + 1e-6
    assert np.abs(found - turned)[:, :N_INDEXED_AXES].max() < 0.01
    np.testing.assert_allclose(found @ opened.to_index_space(asked), vectors[rows] @ asked, atol=0.02 + step)
    assert opened.vectors(rows[:0]).shape == (0, 160)


def test_the_nearest_are_found_by_what_leads(vectors, tmp_path: Path):
    write(vectors, tmp_path, 5.5)
    opened = TransformCodedIndex(tmp_path)
    right = 0
    for row in range(0, 1_800, 90):
        found, products = opened.nearest(opened.to_index_space(vectors[row]), 40)
        assert (np.diff(products) <= 0).all()
        exact = opened.vectors(found) @ opened.to_index_space(vectors[row])
        best = found[np.argsort(-exact, kind="stable")[:10]]
        right += len(set(best.tolist()) & set(np.argsort(-(vectors @ vectors[row]))[:10].tolist()))
    assert right / 200 > 0.9


def test_it_takes_fewer_bytes_than_as_many_bits_would_and_the_same_file_each_time(vectors, tmp_path: Path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(vectors, tmp_path / name, 6.0)
        files.append({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    rest = sum(len(data) for name, data in files[0].items() if name.startswith("rest_"))
    assert rest < 1_800 * (160 - N_INDEXED_AXES) * 5 / 8


def test_few_vectors_or_short_ones_are_not_worth_their_axes():
    assert transform_coding.is_compressible(3_072, 384)
    assert not transform_coding.is_compressible(3_071, 384)
    assert not transform_coding.is_compressible(10_000, N_INDEXED_AXES)


def test_numbers_along_an_axis_that_says_nothing_take_hardly_anything(tmp_path: Path):
    flat = np.zeros((1_000, 128), np.float32)
    flat[:, :3] = np.random.default_rng(1).standard_normal((1_000, 3))
    write(flat, tmp_path, 6.0)
    assert TransformCodedIndex(tmp_path).vectors(np.arange(1_000, dtype=np.int32))[:, 3:] == pytest.approx(
        0.0, abs=0.02
    )
    assert sum(f.stat().st_size for f in tmp_path.glob("rest_*")) < 12_000
