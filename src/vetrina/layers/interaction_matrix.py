"""Who takes what, as a matrix of users and products."""

import numpy as np
from scipy import sparse

from vetrina.core.clock import DAY
from vetrina.core.types import Interactions
from vetrina.layers.sparse_rows import top_k_per_row

HALF_LIFE_SECONDS = 62 * DAY
MAX_ITEMS_PER_USER = 500


def interaction_matrix(events: Interactions, n_items: int) -> sparse.csr_array:
    """X[u, i] = log(1 + decayed count of i by u), (users, items) float32; the tails of very long histories left out."""
    usual = (
        max(float(events.weight.mean()), 1e-9) if len(events) else 1.0
    )  # a log of clicks counts like one of purchases
    decayed = events.weight / usual * 2.0 ** (-(events.until - events.time) / HALF_LIFE_SECONDS)
    counts = sparse.coo_array((decayed, (events.user, events.item)), shape=(len(events.users), n_items)).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data).astype(np.float32)
    return top_k_per_row(sparse.csr_array(counts), MAX_ITEMS_PER_USER)
