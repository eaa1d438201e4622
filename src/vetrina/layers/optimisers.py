"""The step that a gradient leads to. docs/explanation/learning.md works each formula out by hand."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.9
# A plain step is as long as its gradient, one of Adam about as long as the rate: so the same rate means something else.
_RATE_FACTORS = {"sgd": 100.0, "momentum": 10.0}


def build_optimiser(
    name: str, parameters: Iterable[Tensor], learning_rate: float, **adam_options: Any
) -> tuple[torch.optim.Optimizer, float]:
    """``adam``, ``momentum`` or ``sgd`` as torch has them, and its rate: ``rate`` is what suits Adam."""
    own = learning_rate * _RATE_FACTORS.get(name, 1.0)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=own, **adam_options), own
    return torch.optim.SGD(parameters, lr=own, momentum=MOMENTUM if name == "momentum" else 0.0), own
