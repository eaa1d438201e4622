"""Cosine between products over users (Deshpande & Karypis 2004).

x[u, i] = log(1 + decayed count of i by u); sim[i, j] = sum_u x[u, i] x[u, j] / (|x_i| |x_j|), the NEIGHBOURS best of
each row stay. `item_knn` sees what follows what; this sees what belongs to the same households.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from vetrina.core.clock import DAY
from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, Past, Plan
from vetrina.models.sparse_rows import save, strongest

HALF_LIFE, NEIGHBOURS, LEAST_EVENTS, MOST_ITEMS = 62 * DAY, 128, 5, 500
_BLOCK = 2_000


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the rows of sim, best first in a row."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("item_cf needs a catalogue and events")
    items, blocks = len(past.catalogue), []
    taste = _unit_columns(tastes(past.interactions, items), items)
    columns = sparse.csr_array(taste.T)
    with progress.step("item_cf: similarities", items) as step:
        size = max(1, _BLOCK // plan.pieces)
        for start in range(0, items, size):
            block = sparse.csr_array(columns[np.arange(start, min(start + size, items))] @ taste)
            blocks.append(strongest(_without_self(block, start), NEIGHBOURS))
            step.advance(size)
    return save(sparse.csr_array(sparse.vstack(blocks, format="csr")), into)


def tastes(events: Interactions, items: int) -> sparse.csr_array:
    """x of the formula, (users, items); rare products and the tails of very long histories left out."""
    decayed = events.weight * 2.0 ** (-(events.until - events.time) / HALF_LIFE)
    counts = sparse.coo_array((decayed, (events.user, events.item)), shape=(len(events.users), items)).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    often = np.bincount(events.item, minlength=items) >= LEAST_EVENTS
    return strongest(sparse.csr_array(counts @ sparse.diags_array(often.astype(np.float32))), MOST_ITEMS)


def _unit_columns(taste: sparse.csr_array, items: int) -> sparse.csr_array:
    norm = np.sqrt(np.bincount(taste.indices, taste.data**2, minlength=items))
    unit = (taste.data / np.maximum(norm, 1e-9)[taste.indices]).astype(np.float32)
    return sparse.csr_array((unit, taste.indices, taste.indptr), shape=taste.shape)


def _without_self(block: sparse.csr_array, start: int) -> sparse.csr_array:
    row = start + np.repeat(np.arange(len(block.indptr) - 1), np.diff(block.indptr))
    block.data[row == block.indices] = 0.0
    block.eliminate_zeros()
    return block
