"""Item-to-item co-occurrence counts, weighted by distance in the sequence.

For every pair (a then b) of one user, ``gap`` events apart (at most ``window``), c[a, b] += weight_b * decay ** (gap - 1) and
c[b, a] += ``backward_weight`` times that. Events of one moment (a basket) have no order and count both ways.
"""

import numpy as np
from scipy import sparse

from vetrina.core.training_data import Interactions


def cooccurrence(
    events: Interactions, n_items: int, *, window: int, decay: float, backward_weight: float
) -> sparse.csr_array:
    """Return c of the formula above, (items, items) float32, its diagonal empty.

    Args:
        events: All events of the log.
        n_items: Number of items.
        window: Largest distance of two events of a pair.
        decay: Factor of the weight for each further event between them.
        backward_weight: Weight of the pair in the other direction.
    """
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    weight = events.weight[order]
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for gap in range(1, window + 1):
        is_pair = (user[gap:] == user[:-gap]) & (item[gap:] != item[:-gap])
        first = item[:-gap][is_pair]
        second = item[gap:][is_pair]
        same_moment = (time[gap:] == time[:-gap])[is_pair]
        forward = (weight[gap:][is_pair] * decay ** (gap - 1)).astype(np.float32)
        backward = forward * np.where(same_moment, 1.0, backward_weight).astype(np.float32)
        values = np.concatenate([forward, backward])
        rows = np.concatenate([first, second])
        columns = np.concatenate([second, first])
        pairs = sparse.coo_array((values, (rows, columns)), shape=(n_items, n_items))
        total = sparse.csr_array(total + pairs.tocsr())
    total.eliminate_zeros()
    return total
