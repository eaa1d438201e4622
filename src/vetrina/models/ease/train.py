"""EASE (Steck 2019): the best linear item-to-item model with an empty diagonal, in closed form.

P = (X'X + penalty I)^-1, B[i, j] = -P[i, j] / P[j, j] off the diagonal; X of ``layers.tastes``, its
rows shortened by Du^-``even``. Only the MOST_ITEMS products that are taken most are in it: the inverse is dense.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import get_lapack_funcs

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.layers.sparse_rows import save, strongest
from vetrina.layers.tastes import tastes

MOST_ITEMS, NEIGHBOURS = 6_000, 200
SETTINGS = {"penalty": 20.0, "even": 0.5}
SPACE = {"penalty": (2.0, 500.0), "even": (0.0, 0.8)}


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the NEIGHBOURS largest of each row of B, best first."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("ease needs a catalogue and events")
    chosen = plan.of("ease", SETTINGS)
    items = len(past.catalogue)
    counts = np.bincount(past.interactions.item, minlength=items)
    most = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, int((counts > 0).sum()))])
    with progress.step("ease", 1) as step:
        taste = sparse.csr_array(tastes(past.interactions, items)[:, most])
        of_users = np.maximum(np.asarray(taste.sum(axis=1)).ravel(), 1e-9) ** -chosen["even"]
        even = sparse.csr_array(sparse.diags_array(of_users.astype(np.float32)) @ taste)
        found = sparse.coo_array(np.maximum(linear(even, chosen["penalty"]), 0))
        step.advance()
    whole = sparse.coo_array((found.data, (most[found.row], most[found.col])), shape=(items, items))
    return save(strongest(sparse.csr_array(whole), NEIGHBOURS), into)


def linear(taste: sparse.csr_array, penalty: float) -> np.ndarray:
    """B of the formula, (columns, columns) float32. Raises ValueError where the inverse does not exist."""
    gram = (taste.T @ taste).toarray().astype(np.float32, order="F")
    gram[np.diag_indices(len(gram))] += penalty
    factor, invert = get_lapack_funcs(("potrf", "potri"), (gram,))
    lower, failed = factor(gram, lower=1, overwrite_a=1)
    if failed:
        raise ValueError(f"penalty {penalty} is too small for an inverse")
    inverse, _ = invert(lower, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    found = inverse / -np.diag(inverse)
    found[np.diag_indices(len(found))] = 0.0
    return found
