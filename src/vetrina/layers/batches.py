"""Batches of sequences, and the rates that they are learnt at. Training side only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 256
_BATCHES_PER_BUCKET, _FINAL_RATE_FACTOR, _WARMUP_STEPS = (
    20,
    0.02,
    50,
)  # batches sorted together; the last rate; steps until the first is reached


def length_bucketed_batches(
    lengths: NDArray[np.integer], rng: np.random.Generator, batch_size: int = BATCH_SIZE
) -> list[NDArray[np.intp]]:
    """All rows in batches of ``size``, those of like length together so that little is padding, in random order."""
    order = rng.permutation(len(lengths))
    parts = (
        order[at : at + _BATCHES_PER_BUCKET * batch_size]
        for at in range(0, len(order), _BATCHES_PER_BUCKET * batch_size)
    )
    found = [part[np.argsort(lengths[part], kind="stable")] for part in parts]
    batches = [part[at : at + batch_size] for part in found for at in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def linear_schedule_with_warmup(steps: int) -> Callable[[int], float]:
    """What the rate of each of ``steps`` is multiplied by: up for a few, then down in a straight line."""
    return lambda step: max(_FINAL_RATE_FACTOR, 1 - step / steps) * min(1.0, (step + 1) / _WARMUP_STEPS)
