"""Static quantisation: what it is calibrated with, and what is no calibration."""

import numpy as np
import pytest
import torch
from torch import nn

from vetrina.bundle.onnx_session import open_session
from vetrina.core.errors import UnusableVariant
from vetrina.nn.onnx_export import MIN_CALIBRATION_BATCHES, export, quantize_static


@pytest.fixture
def float_file(tmp_path):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(), nn.Flatten(2)).eval()
    path = tmp_path / "float.onnx"
    export(network, (torch.zeros(2, 3, 32, 32),), ("picture",), ("said",), {0: {0: "pictures"}}, path)
    return path


def pictures(seed: int) -> dict[str, np.ndarray]:
    return {"picture": np.random.default_rng(seed).normal(0, 1, (4, 3, 32, 32)).astype(np.float32)}


def test_the_small_file_says_nearly_what_the_large_one_says(float_file, tmp_path):
    small = tmp_path / "int8.onnx"
    quantize_static(float_file, small, [pictures(n) for n in range(MIN_CALIBRATION_BATCHES)])
    a, b = (open_session(file).run(None, pictures(99))[0] for file in (float_file, small))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.995
    assert small.stat().st_size < 0.6 * float_file.stat().st_size


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([pictures(1)] * (MIN_CALIBRATION_BATCHES - 1), "too few to calibrate"),
        ([{"picture": np.ones((4, 3, 32, 32), np.float32)}] * MIN_CALIBRATION_BATCHES, "constant"),
        ([{"picture": np.full((4, 3, 32, 32), np.nan, np.float32)}] * MIN_CALIBRATION_BATCHES, "not finite"),
    ],
)
def test_what_shows_no_range_is_refused(float_file, tmp_path, batches, why):
    with pytest.raises(UnusableVariant, match=why):
        quantize_static(float_file, tmp_path / "int8.onnx", batches)
    assert not (tmp_path / "int8.onnx").exists()
