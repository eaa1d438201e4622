"""Data-parallel training: every worker computes the gradients of its part of a batch, and all take the same step.

Li et al. 2020, "PyTorch Distributed: Experiences on accelerating data parallel training". Training side only.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vetrina.engines import TrainingWorker


def average_gradients(parameters: Iterable[nn.Parameter], weight: float, worker: TrainingWorker) -> float:
    """Replace the gradients of this worker by their weighted mean over all workers, in one all-reduce.

    Args:
        parameters: Parameters of the network, the same on all workers.
        weight: Weight of this worker's gradients, such as the number of rows that they are the mean of.
        worker: This worker.

    Returns:
        The sum of all weights; gradients mean nothing where it is 0.
    """
    if worker.world_size == 1:
        return weight
    parameters = list(parameters)
    gradients = [_flat_gradient(parameter) for parameter in parameters]
    total_weight = torch.full((1,), weight, device=gradients[0].device)
    sums = torch.cat([*gradients, total_weight])
    sums[:-1] *= weight
    worker.all_reduce(sums)
    weight_of_all = float(sums[-1])
    means = sums[:-1] / max(weight_of_all, 1.0)
    for parameter, mean in zip(parameters, means.split([len(gradient) for gradient in gradients]), strict=True):
        parameter.grad = mean.view_as(parameter)
    return weight_of_all


def mean_over_workers(values: NDArray[np.floating], worker: TrainingWorker, device: torch.device) -> float:
    """Mean of the values of all workers; 0 without any.

    Args:
        values: (n,) values of this worker.
        worker: This worker.
        device: Device on which workers exchange tensors.
    """
    if worker.world_size == 1:
        return float(values.mean()) if len(values) else 0.0
    # In float32, which every device has: a metric needs no more.
    sum_and_count = torch.tensor([float(values.sum()), float(len(values))], device=device)
    worker.all_reduce(sum_and_count)
    total, count = sum_and_count.tolist()
    return total / max(count, 1.0)


def _flat_gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:  # nothing of this worker's part reached it
        return torch.zeros(parameter.numel(), device=parameter.device)
    return parameter.grad.flatten()
