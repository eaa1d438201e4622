"""Directed co-occurrence.

For every pair (a then b) of one user, ``gap`` events apart (at most WINDOW), c[a, b] += weight_b * DECAY ** (gap - 1).
Events of one moment (a basket) have no order and count both ways.
sim[a, b] = c[a, b] / (n_a ** POWER * n_b ** POWER) with n the sum of a product's weights; the NEIGHBOURS best of each row stay.
Products with few companions borrow the best sellers of their category (attributes).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Interactions, Past, Plan
from vetrina.models.sparse_rows import save, strongest

WINDOW, DECAY, POWER, NEIGHBOURS, BORROWED = 12, 0.9, 0.35, 48, 12
_ENOUGH = 8
_BORROWED_SCORE = 1e-3


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the rows of sim, best first in a row."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("item_knn needs a catalogue and events")
    items = len(past.catalogue)
    counts = cooccurrence(past.interactions, items, progress)
    weight = np.bincount(past.interactions.item, past.interactions.weight, minlength=items).astype(np.float64)
    scale = sparse.diags_array(1.0 / np.maximum(weight, 1.0) ** POWER)
    rows = strongest((scale @ counts @ scale).tocsr(), NEIGHBOURS)
    return save(_borrow(rows, past.catalogue, weight), into)


def cooccurrence(events: Interactions, items: int, progress: Progress) -> sparse.csr_array:
    """c of the formula above, (items, items)."""
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user, item = events.user[order], events.item[order]
    time, weight = events.time[order], events.weight[order]
    total = sparse.csr_array((items, items), dtype=np.float32)
    with progress.step("item_knn: pairs", WINDOW) as step:
        for gap in range(1, WINDOW + 1):
            same = (user[gap:] == user[:-gap]) & (item[gap:] != item[:-gap])
            first, then = item[:-gap][same], item[gap:][same]
            strength = (weight[gap:][same] * DECAY ** (gap - 1)).astype(np.float32)
            together = (time[gap:] == time[:-gap])[same]
            rows = np.concatenate([first, then[together]])
            columns = np.concatenate([then, first[together]])
            values = np.concatenate([strength, strength[together]])
            total = total + sparse.coo_array((values, (rows, columns)), shape=(items, items)).tocsr()
            step.advance()
    return total


def _borrow(rows: sparse.csr_array, catalogue: Catalogue, weight: NDArray[np.float64]) -> sparse.csr_array:
    """Append the best sellers of the same category to rows with few companions."""
    names, category = np.unique(np.array(catalogue.categories, dtype=object).astype(str), return_inverse=True)
    order = np.lexsort((-weight, category))
    best = {int(c): order[s : s + BORROWED] for c, s in _group_starts(category[order]).items()}
    poor = np.flatnonzero((np.diff(rows.indptr) < _ENOUGH) & (names[category] != ""))
    if not len(poor):
        return rows
    extra_rows = np.concatenate([np.full(len(best[int(category[i])]), i) for i in poor])
    extra = np.concatenate([best[int(category[i])] for i in poor])
    keep = extra != extra_rows
    keep &= (category[extra] == category[extra_rows]) & (weight[extra] > 0)
    share = _BORROWED_SCORE * weight[extra] / weight.max(initial=1.0)
    added = sparse.coo_array((share[keep], (extra_rows[keep], extra[keep])), shape=rows.shape)
    return strongest((rows + added.tocsr()).tocsr(), NEIGHBOURS)


def _group_starts(values: NDArray[np.integer]) -> dict[int, int]:
    groups, starts = np.unique(values, return_index=True)
    return dict(zip(groups.tolist(), starts.tolist(), strict=True))
