"""Device of a training, and bf16 on a GPU. Training side only."""

from contextlib import AbstractContextManager

import torch

from vetrina.core.training_plan import TrainingPlan


def training_device(plan: TrainingPlan) -> torch.device:
    """The device that the plan asks for in this process; ``auto`` is a GPU where there is one.

    One thread means that equal data give equal bytes: that is promised on the processor only, so ``auto`` stays there.
    """
    device = plan.compute.device
    if device == "auto":
        device = "cpu"
        if plan.threads > 1 and torch.cuda.is_available():
            device = "cuda"
    return torch.device(device)


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions on a GPU are computed in bf16; elsewhere nothing changes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")
