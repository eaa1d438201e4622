"""Quantisation-aware training with fake quantisation of weights and inputs (Jacob et al. 2018).

The network computes with rounded numbers as its int8 file will, and trains under these conditions. Weights of a layer are
rounded with one scale an output, its inputs with one scale and zero point whose range follows the training batches; gradients
pass as if nothing had been rounded ("Quantization and training of neural networks for efficient integer-arithmetic-only
inference"). A batch norm after a layer scales its outputs, so it changes no grid of weights and need not be folded first.
Training side only.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_MAX_WEIGHT_LEVEL = 127
_MAX_INPUT_LEVEL = 255
_RANGE_MOMENTUM = 0.1  # share of the newest batch in the running range
_MIN_RANGE = 1e-8


class FakeQuantisation:
    """Makes the linear and convolution layers of a ``network`` compute with rounded numbers until ``remove``."""

    def __init__(self, network: nn.Module) -> None:
        self._layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
        self._hooks = [layer.register_forward_pre_hook(_InputQuantiser()) for layer in self._layers]
        for layer in self._layers:
            parametrize.register_parametrization(layer, "weight", _WeightQuantiser())

    def remove(self) -> None:
        """Stop rounding inputs, and leave the weights at their rounded values."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


class _WeightQuantiser(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().flatten(1).abs().amax(1)
        scales = largest.clamp(min=_MIN_RANGE) / _MAX_WEIGHT_LEVEL
        zero_points = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, scales, zero_points, 0, -_MAX_WEIGHT_LEVEL, _MAX_WEIGHT_LEVEL
        )


class _InputQuantiser:
    """Hook before a layer that rounds its input; the range follows the training batches."""

    def __init__(self) -> None:
        self._low: float | None = None
        self._high: float | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *others = inputs
        smallest, largest = torch.aminmax(x.detach())
        low = min(float(smallest), 0.0)
        high = max(float(largest), 0.0)
        if self._low is None or self._high is None:
            self._low = low
            self._high = high
        elif layer.training:
            self._low += _RANGE_MOMENTUM * (low - self._low)
            self._high += _RANGE_MOMENTUM * (high - self._high)
        scale = max(self._high - self._low, _MIN_RANGE) / _MAX_INPUT_LEVEL
        zero_point = min(_MAX_INPUT_LEVEL, max(0, round(-self._low / scale)))
        rounded = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, _MAX_INPUT_LEVEL)
        return rounded, *others
