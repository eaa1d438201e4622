"""EASE (Steck 2019): closed-form linear item-to-item model with an empty diagonal.

P = (X'X + penalty I)^-1, B[i, j] = -P[i, j] / P[j, j] off the diagonal; X of ``data.interaction_matrix``, its rows
multiplied by Du^-``even``, Du being their sums. Only the MAX_ITEMS most frequent products are in it: the inverse is
dense.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import get_lapack_funcs

from vetrina.bundle.sparse_rows.write import write_rows
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes
from vetrina.data.interaction_matrix import interaction_matrix
from vetrina.data.sparse_matrix import top_k_of_dense, top_k_per_row
from vetrina.models.ease.model import MODEL

MAX_ITEMS = 6_000
MAX_NEIGHBOURS = 200  # of each product


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the MAX_NEIGHBOURS largest positive values of each row of B, best first.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Hyper-parameters.
        into: The output folder.
        progress: Reports when it is done.

    Returns:
        The report of ``write_rows``.
    """
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("ease needs a catalogue and events")
    hyperparameters = MODEL.hyperparameters_in(plan)
    n_items = len(training_data.catalogue)
    items = _most_frequent_items(training_data.interactions.item, n_items)
    with progress.step("ease", 1) as step:
        profiles = sparse.csr_array(interaction_matrix(training_data.interactions, n_items)[:, items])
        user_sums = np.maximum(np.asarray(profiles.sum(axis=1)).ravel(), 1e-9)
        user_scale = (user_sums ** -hyperparameters["even"]).astype(np.float32)
        scaled = sparse.csr_array(sparse.diags_array(user_scale) @ profiles)
        weights = solve_ease(scaled, hyperparameters["penalty"])
        positive = sparse.coo_array(top_k_of_dense(weights, MAX_NEIGHBOURS))
        step.advance()
    coordinates = (items[positive.row], items[positive.col])
    similarities = sparse.coo_array((positive.data, coordinates), shape=(n_items, n_items))
    return TrainNotes(report=write_rows(top_k_per_row(sparse.csr_array(similarities), MAX_NEIGHBOURS), into))


def _most_frequent_items(event_items: NDArray[np.int32], n_items: int) -> NDArray[np.intp]:
    """At most MAX_ITEMS products with events, sorted."""
    counts = np.bincount(event_items, minlength=n_items)
    n_selected = min(MAX_ITEMS, int((counts > 0).sum()))
    most_frequent_first = np.argsort(-counts, kind="stable")
    return np.sort(most_frequent_first[:n_selected])


def solve_ease(interactions: sparse.csr_array, penalty: float) -> np.ndarray:
    """B of the formula, (columns, columns) float32.

    Raises:
        ValueError: The penalty is too small for the inverse to exist.
    """
    gram = (interactions.T @ interactions).toarray().astype(np.float32, order="F")
    gram[np.diag_indices(len(gram))] += penalty
    factorise, invert = get_lapack_funcs(("potrf", "potri"), (gram,))
    lower, failed = factorise(gram, lower=1, overwrite_a=1)
    if failed:
        raise ValueError(f"penalty {penalty} is too small for an inverse")
    inverse, _ = invert(lower, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices(len(weights))] = 0.0
    return weights
