"""Training of a sequence network on the processor and on a GPU in bf16.

The log of ``ray_training``. Seconds and quality (NDCG@10 of each user's last product, 95 % bootstrap over users) of equally many
epochs, and the largest memory: of the process on the processor, of torch's allocator on the GPU. On a machine without a GPU it
measures the processor and says so.
"""

import sys
from dataclasses import replace

import torch

from benchmarks.ray_training import fit, made_log
from benchmarks.record import row
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.training_plan import Compute, TrainingPlan

_USERS = 40_000
_EPOCHS = 6


def main(users: int = _USERS, epochs: int = _EPOCHS) -> None:
    """The processor, then the GPU where there is one.

    Args:
        users: Users of the log.
        epochs: Epochs of each training.
    """
    log = made_log(users)
    plan = TrainingPlan(threads=max(2, torch.get_num_threads()))
    on_cpu = fit(log, replace(plan, compute=Compute(device="cpu")), epochs)
    row(f"processor, {plan.threads} threads", f"{on_cpu.seconds:.1f} s", f"NDCG@10 {on_cpu.quality}")
    row("processor, peak memory", f"{peak_memory_mb():.0f} MB")
    if not torch.cuda.is_available():
        row("GPU", "not measured", f"torch {torch.__version__} sees none on this machine")
        return
    on_gpu_plan = replace(plan, compute=Compute(device="cuda"))
    fit(log, on_gpu_plan, 1)  # starts CUDA
    torch.cuda.reset_peak_memory_stats()
    on_gpu = fit(log, on_gpu_plan, epochs)
    row(torch.cuda.get_device_name(), f"{on_gpu.seconds:.1f} s", f"NDCG@10 {on_gpu.quality}")
    row("GPU, peak memory", f"{torch.cuda.max_memory_allocated() / 1e6:.0f} MB")
    row("speed-up", f"{on_cpu.seconds / on_gpu.seconds:.1f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
