"""Quantisation-aware training: a network that computes as its 8-bit file will, and learns in spite of it.

Weights of a layer are rounded with one scale for each output, what goes into a layer with one scale and zero for all of it,
whose range follows what was seen; gradients pass as if nothing had been rounded (Jacob et al. 2018, "Quantization and training
of neural networks for efficient integer-arithmetic-only inference"). A batch norm behind a layer scales outputs, so it changes no
grid of weights and need not be folded first. Training side only.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_WEIGHTS, _INPUTS, _FOLLOWS, _LEAST = 127, 255, 0.1, 1e-8


class Rounded:
    """While it lasts, matrices and convolutions of a ``network`` compute with rounded numbers."""

    def __init__(self, network: nn.Module) -> None:
        self._parts = [part for part in network.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
        self._hooks = [part.register_forward_pre_hook(_Inputs()) for part in self._parts]
        for part in self._parts:
            parametrize.register_parametrization(part, "weight", _Weights())

    def end(self) -> None:
        """Weights stay where the grid is; inputs are no longer rounded."""
        for hook in self._hooks:
            hook.remove()
        for part in self._parts:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)


class _Weights(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        scales = weight.detach().flatten(1).abs().amax(1).clamp(min=_LEAST) / _WEIGHTS
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -_WEIGHTS, _WEIGHTS)


class _Inputs:
    """Hook before a layer: the range of what goes in follows the batches of training."""

    def __init__(self) -> None:
        self._low = self._high = None

    def __call__(self, part: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *others = given
        low, high = (float(edge) for edge in torch.aminmax(x.detach()))
        low, high = min(low, 0.0), max(high, 0.0)
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        elif part.training:
            self._low += _FOLLOWS * (low - self._low)
            self._high += _FOLLOWS * (high - self._high)
        scale = max(self._high - self._low, _LEAST) / _INPUTS
        zero = round(-self._low / scale)
        return torch.fake_quantize_per_tensor_affine(x, scale, min(_INPUTS, max(0, zero)), 0, _INPUTS), *others
