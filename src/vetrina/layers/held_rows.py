"""Rows that a classifier does not learn from, to see by when to stop or what to choose."""

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15


def held_out(rows: int, seed: int) -> NDArray[np.bool_]:
    """(rows,) drawn by chance, about SHARE of them and at least one."""
    held = np.random.default_rng(seed).random(rows) < SHARE
    held[:1] |= not held.any()
    return held
