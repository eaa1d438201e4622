"""Magnitude pruning (Han et al. 2015), then int8, then deflate. Pruned zeros save disk, not time."""

import tempfile
import zlib
from pathlib import Path

import torch
from torch import nn

from vetrina.models.mlp.train import load, save_network
from vetrina.models.onnx_export import quantize_dynamic

STEP = "prune 50 % + int8"
_PRUNED_SHARE = 0.5


def compress(source: Path, into: Path) -> str:
    """Zero the smaller half of each hidden layer's weights, quantise, and write ``network.onnx.z``."""
    model = load(source)
    for layer in list(model)[:-2]:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach()
            threshold = torch.quantile(weight.abs(), _PRUNED_SHARE)
            layer.weight.data = torch.where(weight.abs() > threshold, weight, 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        pruned, small = Path(scratch) / "pruned.onnx", Path(scratch) / "int8.onnx"
        save_network(model, pruned)
        quantize_dynamic(pruned, small)
        (into / "network.onnx.z").write_bytes(zlib.compress(small.read_bytes(), level=9))
    return STEP
