"""User-item interaction matrix of log-scaled, exponentially decayed counts."""

import numpy as np
from scipy import sparse

from vetrina.core.clock import DAY
from vetrina.core.types import Interactions
from vetrina.data.sparse_matrix import top_k_per_row

HALF_LIFE_SECONDS = 62 * DAY
MAX_ITEMS_PER_USER = 500


def interaction_matrix(events: Interactions, n_items: int) -> sparse.csr_array:
    """Return X[u, i] = log(1 + decayed count of i by u), (users, items) float32, at most MAX_ITEMS_PER_USER a user."""
    mean_weight = 1.0
    if len(events):
        mean_weight = max(float(events.weight.mean()), 1e-9)
    weights = events.weight / mean_weight  # so that a log of clicks counts like one of purchases
    decayed = weights * 2.0 ** (-(events.until - events.time) / HALF_LIFE_SECONDS)
    shape = (len(events.users), n_items)
    counts = sparse.coo_array((decayed, (events.user, events.item)), shape=shape).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data).astype(np.float32)
    return top_k_per_row(sparse.csr_array(counts), MAX_ITEMS_PER_USER)
