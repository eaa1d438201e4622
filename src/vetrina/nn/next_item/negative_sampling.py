"""Negative sampling by popularity, with the log-q correction of sampled softmax (Bengio and Senecal 2008).

Negatives are sampled with probability q = count ** POPULARITY_POWER / sum and shared by a batch; log(samples * q) is subtracted
from their logits, so that the loss estimates that of the full softmax. A small catalogue needs no sampling: all items are
negatives.
"""

import numpy as np
import torch
from torch import Tensor

POPULARITY_POWER = 0.5
MAX_FULL_SOFTMAX_ITEMS = 2_000


class NegativeSampler:
    """Samples negatives for a batch.

    Args:
        counts: (items,) number of events of each item.
        n_samples: Negatives of a batch.
    """

    def __init__(self, counts: np.ndarray, n_samples: int) -> None:
        popularity = counts.astype(np.float64) ** POPULARITY_POWER
        q = popularity / popularity.sum()
        self._cumulative = np.cumsum(q)
        self._n_samples = n_samples
        self._correction = np.log(q * n_samples).astype(np.float32)
        self._all_rows: np.ndarray | None = None
        if len(counts) <= max(MAX_FULL_SOFTMAX_ITEMS, n_samples):
            self._all_rows = np.arange(len(counts))

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Return item rows (n,) int64, and what to subtract from their logits (n,)."""
        if self._all_rows is not None:
            return self._all_rows, torch.zeros(len(self._all_rows))
        last_row = len(self._cumulative) - 1
        rows = np.searchsorted(self._cumulative, rng.random(self._n_samples)).clip(max=last_row)
        return rows, torch.from_numpy(self._correction[rows])
