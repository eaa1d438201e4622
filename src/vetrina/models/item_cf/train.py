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
from vetrina.models.item_knn.train import strongest

HALF_LIFE, NEIGHBOURS, LEAST_EVENTS, MOST_ITEMS = 62 * DAY, 128, 5, 500
_BLOCK = 2_000


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes CSR parts ``starts`` (items + 1,), ``items`` int32 and ``values`` float32, best first in a row."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("item_cf needs a catalogue and events")
    taste = _unit_columns(tastes(past.interactions, len(past.catalogue)))
    blocks = []
    columns = taste.T.tocsr()
    with progress.step("item_cf: similarities", columns.shape[0]) as step:
        for start in range(0, columns.shape[0], _BLOCK):
            block = (columns[start : start + _BLOCK] @ taste).tocsr()
            blocks.append(strongest(_without_self(block, start), NEIGHBOURS))
            step.advance(block.shape[0])
    rows = sparse.vstack(blocks, format="csr")
    np.save(into / "starts.npy", rows.indptr.astype(np.int64))
    np.save(into / "items.npy", rows.indices.astype(np.int32))
    np.save(into / "values.npy", rows.data.astype(np.float32))
    return {"pairs": int(rows.nnz)}


def tastes(events: Interactions, items: int) -> sparse.csr_array:
    """x of the formula, (users, items); rare products and the tails of very long histories left out."""
    decayed = events.weight * 2.0 ** (-(events.until - events.time) / HALF_LIFE)
    counts = sparse.coo_array((decayed, (events.user, events.item)), shape=(len(events.users), items)).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    often = np.bincount(events.item, minlength=items) >= LEAST_EVENTS
    return strongest(sparse.csr_array(counts @ sparse.diags_array(often.astype(np.float32))), MOST_ITEMS)


def _unit_columns(taste: sparse.csr_array) -> sparse.csr_array:
    norm = np.sqrt(np.asarray(taste.power(2).sum(axis=0)).ravel())
    scaled = sparse.csr_array(taste @ sparse.diags_array(1.0 / np.maximum(norm, 1e-9)))
    scaled.eliminate_zeros()
    return scaled.astype(np.float32)


def _without_self(block: sparse.csr_array, start: int) -> sparse.csr_array:
    row = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
    block.data[row == block.indices] = 0.0
    block.eliminate_zeros()
    return block
