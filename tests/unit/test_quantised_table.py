"""Tables in 8 and 4 bits: rows and products are nearly those of the float table, and what cannot be packed is refused."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.bundle.quantised_table.read import open_table
from vetrina.bundle.quantised_table.write import write_quantised_table
from vetrina.core.errors import UnusableVariant


def table(rows: int = 300, width: int = 64, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize(("bits", "off", "smaller"), [(8, 0.01, 3.4), (4, 0.12, 5.5)])
@pytest.mark.parametrize("rows", [1, 300])
def test_rows_and_products_are_nearly_as_they_were(tmp_path: Path, bits: int, off: float, smaller: float, rows: int):
    whole = table(rows)
    asked = table(3, seed=2)
    np.save(tmp_path / "table.npy", whole)
    usual = open_table(tmp_path, "table.npy")
    np.testing.assert_allclose(usual.inner_products(asked), asked @ whole.T, rtol=1e-5)
    (tmp_path / "small").mkdir()
    write_quantised_table(whole, tmp_path / "small", bits)
    small = open_table(tmp_path / "small", "table.npy")
    assert len(small) == rows
    for chosen in (np.array([0, rows - 1]), slice(None)):
        error = np.abs(small.vectors(chosen) - whole[chosen]).max() / np.abs(whole).max()
        assert error < (0.35 if bits == 4 else off)  # of 4 bits the largest may be clipped
    one = small.inner_products(asked[:1])
    several = small.inner_products(asked)
    assert several.shape == (3, rows)
    scale = float(np.sqrt((asked**2).sum(1).max() * (whole**2).sum(1).max()))
    assert np.abs(several - asked @ whole.T).max() / scale < off
    assert np.abs(one - several[:1]).max() / scale < off
    if rows > 1:
        size = sum(f.stat().st_size for f in (tmp_path / "small").iterdir())
        assert whole.nbytes / size > smaller


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (np.full((3, 64), np.nan, np.float32), "not finite"),
        (np.empty((0, 64), np.float32), "empty"),
        (np.ones((3, 40), np.float32), "a width of 40 is no multiple of 16"),
    ],
)
def test_what_cannot_be_packed_says_why_and_leaves_nothing(tmp_path: Path, what: np.ndarray, why: str):
    with pytest.raises(UnusableVariant, match=why):
        write_quantised_table(what, tmp_path, 4)
    assert not list(tmp_path.iterdir())
