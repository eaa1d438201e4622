"""Rows that a classifier does not learn from, to see by when to stop or what to choose."""

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.15


def held_out_mask(n_rows: int, seed: int) -> NDArray[np.bool_]:
    """(rows,) drawn by chance, about SHARE of them and at least one."""
    held = np.random.default_rng(seed).random(n_rows) < HELD_OUT_SHARE
    held[:1] |= not held.any()
    return held
