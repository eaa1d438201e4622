"""Magnitude pruning (Han et al. 2015), then int8. Pruned zeros save disk after packing, not time."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from vetrina.models.mlp.train import load, save
from vetrina.models.onnx_export import quantize_dynamic

STEP = "prune 50 % + int8"
_PRUNED_SHARE = 0.5


def compress(source: Path, into: Path) -> str:
    """Zero the smaller half of each hidden layer's weights, then quantise."""
    model = load(source)
    for layer in list(model)[:-2]:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach()
            threshold = torch.quantile(weight.abs(), _PRUNED_SHARE)
            layer.weight.data = torch.where(weight.abs() > threshold, weight, 0.0)
    save(model, into)
    (into / "network.onnx").rename(into / "float.onnx")
    quantize_dynamic(into / "float.onnx", into / "network.onnx")
    (into / "float.onnx").unlink()
    with np.load(into / "weights.npz") as file:
        packed = {k: file[k].astype(np.float16) for k in file.files}
    np.savez_compressed(into / "weights.npz", **packed)
    return STEP
