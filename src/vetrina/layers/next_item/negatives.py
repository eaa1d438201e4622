"""Products that a position is asked to tell from its target.

Drawn by q = count ** POWER / sum and shared by a batch; log(draws * q) is taken off their logits (Bengio & Senecal 2008), so
that the loss estimates that of the full softmax. A small catalogue is asked whole.
"""

import numpy as np
import torch
from torch import Tensor

POWER, FULL_UP_TO = 0.5, 2_000


class Negatives:
    """``counts`` (items,) of the products, ``draws`` a batch."""

    def __init__(self, counts: np.ndarray, draws: int) -> None:
        q = counts.astype(np.float64) ** POWER
        self._cumulative = np.cumsum(q / q.sum())
        self._draws = draws
        self._correction = np.log(q / q.sum() * draws).astype(np.float32)
        self._all = np.arange(len(counts)) if len(counts) <= max(FULL_UP_TO, draws) else None

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Rows (n,) int64, and what to take off their logits (n,)."""
        if self._all is not None:
            return self._all, torch.zeros(len(self._all))
        at = np.searchsorted(self._cumulative, rng.random(self._draws)).clip(max=len(self._cumulative) - 1)
        return at, torch.from_numpy(self._correction[at])
