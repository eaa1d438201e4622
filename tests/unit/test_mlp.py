"""Pruning that is real: half of the hidden weights are zero in the file that serves, and it got smaller."""

import zlib

import numpy as np
import onnx
from onnx import numpy_helper

from vetrina.core.compression import DistillationData
from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.models.mlp import compress, online, train


def test_half_of_the_hidden_weights_are_zero_and_the_answers_hold(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((800, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(np.float32)
    for name in ("float", "small"):
        (tmp_path / name).mkdir()
    train.fit(TrainingData(encoded_table=EncodedTable(x, label=y)), TrainingPlan(), tmp_path / "float", NoProgress())
    compress.compress(
        tmp_path / "float",
        tmp_path / "small",
        compress.VARIANTS[-1],
        DistillationData(TrainingData, TrainingPlan(), NoProgress()),
    )
    packed = tmp_path / "small" / "network.onnx.z"
    graph = onnx.load_from_string(zlib.decompress(packed.read_bytes())).graph
    hidden = [w for w in map(numpy_helper.to_array, graph.initializer) if w.dtype == np.int8 and w.size > 100]
    assert len(hidden) == 2
    for weight in hidden:
        assert (weight == 0).mean() >= 0.49
    assert packed.stat().st_size < (tmp_path / "float" / "network.onnx").stat().st_size / 3
    right = [
        ((online.load(tmp_path / n).predict(EncodedTable(x)) > 0.5) == (y > 0.5)).mean() for n in ("float", "small")
    ]
    assert min(right) > 0.9
