"""Length-bucketed mini-batches and the learning-rate schedule (linear warm-up, linear decay). Training side only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 256
_BATCHES_PER_BUCKET = 20  # batches whose rows are sorted by length together
_FINAL_RATE_FACTOR = 0.02  # of the learning rate, at the end
_WARMUP_STEPS = 50


def length_bucketed_batches(
    lengths: NDArray[np.integer], rng: np.random.Generator, batch_size: int = BATCH_SIZE
) -> list[NDArray[np.intp]]:
    """Return batches of row numbers in random order, rows of similar length together so that little is padding.

    Args:
        lengths: (n,) length of each row.
        rng: Source of the random order.
        batch_size: Rows of a batch.
    """
    order = rng.permutation(len(lengths))
    bucket_size = _BATCHES_PER_BUCKET * batch_size
    batches = []
    for bucket_start in range(0, len(order), bucket_size):
        bucket = order[bucket_start : bucket_start + bucket_size]
        by_length = bucket[np.argsort(lengths[bucket], kind="stable")]
        for start in range(0, len(by_length), batch_size):
            batches.append(by_length[start : start + batch_size])
    return [batches[number] for number in rng.permutation(len(batches))]


def linear_schedule_with_warmup(steps: int) -> Callable[[int], float]:
    """Return a function of the step (from 0) that gives the factor of the learning rate: up at first, then linearly down."""

    def rate_factor(step: int) -> float:
        decay = max(_FINAL_RATE_FACTOR, 1 - step / steps)
        warm_up = min(1.0, (step + 1) / _WARMUP_STEPS)
        return decay * warm_up

    return rate_factor
