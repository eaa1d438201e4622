"""Optimisers: Adam, SGD and SGD with momentum, and the one-cycle schedule of their rates.

docs/explanation/learning.md works each update out by hand.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.9
# A step of SGD is as long as its gradient, one of Adam about as long as the learning rate: the same rate needs a factor.
_RATE_FACTORS = {"sgd": 100.0, "momentum": 10.0}
_WARM_UP_SHARE = 0.1  # of the steps of a one-cycle schedule


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


def one_cycle_schedule(
    optimiser: torch.optim.Optimizer, max_rate: float, n_steps: int, **options: Any
) -> torch.optim.lr_scheduler.OneCycleLR:
    """One-cycle schedule whose rate rises in the first tenth of the steps and falls afterwards (Smith and Topin 2018).

    Args:
        optimiser: The optimiser whose rate is scheduled.
        max_rate: The highest rate.
        n_steps: Number of steps; one more is allowed.
        options: Further options of ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    total_steps = n_steps + 1
    warm_up_share = _WARM_UP_SHARE
    if total_steps * warm_up_share == 1.0:
        warm_up_share = 0.0  # torch divides by the length of the warm-up, which would be 1 - 1 steps
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_rate, total_steps=total_steps, pct_start=warm_up_share, **options
    )
