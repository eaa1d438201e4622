"""Batches of sequences, and the rates that they are learnt at. Training side only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZE = 256
_TOGETHER, _LAST, _WARM = 20, 0.02, 50  # batches sorted together; the last rate; steps until the first is reached


def of_like_length(lengths: NDArray[np.integer], rng: np.random.Generator, size: int = SIZE) -> list[NDArray[np.intp]]:
    """All rows in batches of ``size``, those of like length together so that little is padding, in random order."""
    order = rng.permutation(len(lengths))
    parts = (order[at : at + _TOGETHER * size] for at in range(0, len(order), _TOGETHER * size))
    found = [part[np.argsort(lengths[part], kind="stable")] for part in parts]
    batches = [part[at : at + size] for part in found for at in range(0, len(part), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def falling(steps: int) -> Callable[[int], float]:
    """What the rate of each of ``steps`` is multiplied by: up for a few, then down in a straight line."""
    return lambda step: max(_LAST, 1 - step / steps) * min(1.0, (step + 1) / _WARM)
