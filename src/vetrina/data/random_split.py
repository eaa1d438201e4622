"""Random split of training rows, for early stopping and the choice of hyper-parameters."""

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.15


def held_out_mask(n_rows: int, seed: int) -> NDArray[np.bool_]:
    """Return which rows (n_rows,) are held out: HELD_OUT_SHARE of them at random, at least one."""
    is_held_out = np.random.default_rng(seed).random(n_rows) < HELD_OUT_SHARE
    is_held_out[:1] |= not is_held_out.any()
    return is_held_out
