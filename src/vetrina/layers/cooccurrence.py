"""What is taken after what, by how many steps.

For every pair (a then b) of one user, ``gap`` events apart (at most ``window``), c[a, b] += weight_b * decay ** (gap - 1) and
c[b, a] += ``back`` times that. Events of one moment (a basket) have no order and count both ways.
"""

import numpy as np
from scipy import sparse

from vetrina.core.types import Interactions


def cooccurrence(events: Interactions, items: int, *, window: int, decay: float, back: float) -> sparse.csr_array:
    """c of the formula above, (items, items) float32, its diagonal empty."""
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user, item = events.user[order], events.item[order]
    time, weight = events.time[order], events.weight[order]
    total = sparse.csr_array((items, items), dtype=np.float32)
    for gap in range(1, window + 1):
        same = (user[gap:] == user[:-gap]) & (item[gap:] != item[:-gap])
        first, then = item[:-gap][same], item[gap:][same]
        strength = (weight[gap:][same] * decay ** (gap - 1)).astype(np.float32)
        returning = strength * np.where((time[gap:] == time[:-gap])[same], 1.0, back).astype(np.float32)
        rows, columns = np.concatenate([first, then]), np.concatenate([then, first])
        pairs = sparse.coo_array((np.concatenate([strength, returning]), (rows, columns)), shape=(items, items))
        total = sparse.csr_array(total + pairs.tocsr())
    total.eliminate_zeros()
    return total
