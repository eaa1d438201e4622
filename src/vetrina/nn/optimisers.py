"""Optimisers: Adam, SGD and SGD with momentum.

docs/explanation/learning.md works each update out by hand.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.9
# A step of SGD is as long as its gradient, one of Adam about as long as the learning rate: the same rate needs a factor.
_RATE_FACTORS = {"sgd": 100.0, "momentum": 10.0}


def build_optimiser(
    name: str, parameters: Iterable[Tensor], learning_rate: float, **adam_options: Any
) -> tuple[torch.optim.Optimizer, float]:
    """Return an optimiser of torch and its learning rate.

    Args:
        name: ``adam``, ``momentum`` or ``sgd``.
        parameters: What is optimised.
        learning_rate: A rate that suits Adam; the others get a multiple of it.
        **adam_options: Further arguments of Adam; the others ignore them.
    """
    own_rate = learning_rate * _RATE_FACTORS.get(name, 1.0)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=own_rate, **adam_options), own_rate
    momentum = 0.0
    if name == "momentum":
        momentum = MOMENTUM
    return torch.optim.SGD(parameters, lr=own_rate, momentum=momentum), own_rate
