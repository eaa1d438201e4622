"""Products that a position is asked to tell from its target.

Drawn by q = count ** POWER / sum and shared by a batch; log(draws * q) is taken off their logits (Bengio & Senecal 2008), so
that the loss estimates that of the full softmax. A small catalogue is asked whole.
"""

import numpy as np
import torch
from torch import Tensor

POPULARITY_POWER = 0.5
MAX_FULL_SOFTMAX_ITEMS = 2_000


class NegativeSampler:
    """``counts`` (items,) of the products, ``draws`` a batch."""

    def __init__(self, counts: np.ndarray, n_samples: int) -> None:
        q = counts.astype(np.float64) ** POPULARITY_POWER
        self._cumulative = np.cumsum(q / q.sum())
        self._n_samples = n_samples
        self._correction = np.log(q / q.sum() * n_samples).astype(np.float32)
        self._all_rows = np.arange(len(counts)) if len(counts) <= max(MAX_FULL_SOFTMAX_ITEMS, n_samples) else None

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Rows (n,) int64, and what to take off their logits (n,)."""
        if self._all_rows is not None:
            return self._all_rows, torch.zeros(len(self._all_rows))
        at = np.searchsorted(self._cumulative, rng.random(self._n_samples)).clip(max=len(self._cumulative) - 1)
        return at, torch.from_numpy(self._correction[at])
