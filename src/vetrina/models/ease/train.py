"""EASE (Steck 2019): the best linear item-to-item model with an empty diagonal, in closed form.

P = (X'X + penalty I)^-1, B[i, j] = -P[i, j] / P[j, j] off the diagonal; X of ``layers.interaction_matrix``, its
rows shortened by Du^-``even``. Only the MOST_ITEMS products that are taken most are in it: the inverse is dense.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import get_lapack_funcs

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers.interaction_matrix import interaction_matrix
from vetrina.layers.sparse_rows import save, top_k_per_row

MAX_ITEMS = 6_000
MAX_NEIGHBOURS = 200
HYPERPARAMETERS = {"penalty": 20.0, "even": 0.5}
SEARCH_SPACE = {"penalty": (2.0, 500.0), "even": (0.0, 0.8)}


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the NEIGHBOURS largest of each row of B, best first."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("ease needs a catalogue and events")
    chosen = plan.hyperparameters_of("ease", HYPERPARAMETERS)
    items = len(training_data.catalogue)
    counts = np.bincount(training_data.interactions.item, minlength=items)
    most = np.sort(np.argsort(-counts, kind="stable")[: min(MAX_ITEMS, int((counts > 0).sum()))])
    with progress.step("ease", 1) as step:
        taste = sparse.csr_array(interaction_matrix(training_data.interactions, items)[:, most])
        of_users = np.maximum(np.asarray(taste.sum(axis=1)).ravel(), 1e-9) ** -chosen["even"]
        even = sparse.csr_array(sparse.diags_array(of_users.astype(np.float32)) @ taste)
        found = sparse.coo_array(np.maximum(solve_ease(even, chosen["penalty"]), 0))
        step.advance()
    whole = sparse.coo_array((found.data, (most[found.row], most[found.col])), shape=(items, items))
    return save(top_k_per_row(sparse.csr_array(whole), MAX_NEIGHBOURS), into)


def solve_ease(interactions: sparse.csr_array, penalty: float) -> np.ndarray:
    """B of the formula, (columns, columns) float32. Raises ValueError where the inverse does not exist."""
    gram = (interactions.T @ interactions).toarray().astype(np.float32, order="F")
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
