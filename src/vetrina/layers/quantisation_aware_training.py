"""Quantisation-aware training: a network that computes as its 8-bit file will, and learns in spite of it.

Weights of a layer are rounded with one scale for each output, what goes into a layer with one scale and zero for all of it,
whose range follows what was seen; gradients pass as if nothing had been rounded (Jacob et al. 2018, "Quantization and training
of neural networks for efficient integer-arithmetic-only inference"). A batch norm behind a layer scales outputs, so it changes no
grid of weights and need not be folded first. Training side only.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_MAX_WEIGHT_LEVEL = 127
_MAX_INPUT_LEVEL = 255
_RANGE_MOMENTUM = 0.1
_MIN_RANGE = 1e-8


class FakeQuantisation:
    """While it lasts, matrices and convolutions of a ``network`` compute with rounded numbers."""

    def __init__(self, network: nn.Module) -> None:
        self._layers = [part for part in network.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
        self._hooks = [part.register_forward_pre_hook(_InputQuantiser()) for part in self._layers]
        for part in self._layers:
            parametrize.register_parametrization(part, "weight", _WeightQuantiser())

    def remove(self) -> None:
        """Weights stay where the grid is; inputs are no longer rounded."""
        for hook in self._hooks:
            hook.remove()
        for part in self._layers:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)


class _WeightQuantiser(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        scales = weight.detach().flatten(1).abs().amax(1).clamp(min=_MIN_RANGE) / _MAX_WEIGHT_LEVEL
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -_MAX_WEIGHT_LEVEL, _MAX_WEIGHT_LEVEL)


class _InputQuantiser:
    """Hook before a layer: the range of what goes in follows the batches of training."""

    def __init__(self) -> None:
        self._low = self._high = None

    def __call__(self, part: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *others = given
        low, high = (float(edge) for edge in torch.aminmax(x.detach()))
        low = min(low, 0.0)
        high = max(high, 0.0)
        if self._low is None or self._high is None:
            self._low = low
            self._high = high
        elif part.training:
            self._low += _RANGE_MOMENTUM * (low - self._low)
            self._high += _RANGE_MOMENTUM * (high - self._high)
        scale = max(self._high - self._low, _MIN_RANGE) / _MAX_INPUT_LEVEL
        zero = round(-self._low / scale)
        return torch.fake_quantize_per_tensor_affine(
            x, scale, min(_MAX_INPUT_LEVEL, max(0, zero)), 0, _MAX_INPUT_LEVEL
        ), *others
