"""What is taken after what, by how many steps.

For every pair (a then b) of one user, ``gap`` events apart (at most ``window``), c[a, b] += weight_b * decay ** (gap - 1) and
c[b, a] += ``back`` times that. Events of one moment (a basket) have no order and count both ways.
"""

import numpy as np
from scipy import sparse

from vetrina.core.types import Interactions


def cooccurrence(
    events: Interactions, n_items: int, *, window: int, decay: float, backward_weight: float
) -> sparse.csr_array:
    """c of the formula above, (items, items) float32, its diagonal empty."""
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    weight = events.weight[order]
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for gap in range(1, window + 1):
        same = (user[gap:] == user[:-gap]) & (item[gap:] != item[:-gap])
        first = item[:-gap][same]
        then = item[gap:][same]
        strength = (weight[gap:][same] * decay ** (gap - 1)).astype(np.float32)
        returning = strength * np.where((time[gap:] == time[:-gap])[same], 1.0, backward_weight).astype(np.float32)
        rows = np.concatenate([first, then])
        columns = np.concatenate([then, first])
        pairs = sparse.coo_array((np.concatenate([strength, returning]), (rows, columns)), shape=(n_items, n_items))
        total = sparse.csr_array(total + pairs.tocsr())
    total.eliminate_zeros()
    return total
