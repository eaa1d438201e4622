"""GF-CF (Shen et al. 2021): linear graph filter with an ideal low-pass, in closed form.

R = Du^-1/2 X Di^-1/2 with X of ``data.interaction_matrix`` and D the sums of its rows and columns;
M = Di^-1/2 (R'R + low V V') Di^1/2, V the right singular vectors of the ``rank`` largest singular values of R;
score(u) = x_u M.

The MAX_NEIGHBOURS largest of each row of M are stored: on Gowalla they are as good as all of them. ``item_knn`` models
sequence, this model the co-occurrence in whole histories.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.bundle.sparse_rows.write import write_rows
from vetrina.core.progress import Progress, Step
from vetrina.core.types import Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.interaction_matrix import interaction_matrix
from vetrina.data.sparse_matrix import shape_of, top_k_of_dense, top_k_per_row
from vetrina.data.truncated_svd import right_singular_vectors
from vetrina.models.graph_filter.model import MODEL

MAX_NEIGHBOURS = 100  # of each product
MIN_EVENTS = 5  # of a product, to be in the matrix
_ROWS_PER_BLOCK = 1_000  # rows of M at once, to bound memory
_MAX_OPERATIONS = 1e12  # of the low-pass product: about a CPU-minute
_MIN_RANK = 256  # a low-pass of lower rank only blurs
_SVD_PROGRESS_SHARE = 0.5  # of the progress of all rows


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the largest values of each row of M, best first.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Seed, hyper-parameters and into how many chunks the work is cut.
        into: The output folder.
        progress: Reports the rows.

    Returns:
        The report of ``write_rows``.
    """
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("graph_filter needs a catalogue and events")
    hyperparameters = MODEL.hyperparameters_in(plan)
    n_items = len(training_data.catalogue)
    event_counts = np.bincount(training_data.interactions.item, minlength=n_items)
    items = np.flatnonzero(event_counts >= MIN_EVENTS)
    profiles = sparse.csr_array(interaction_matrix(training_data.interactions, n_items)[:, items])
    user_roots = _sums(profiles, axis=1) ** 0.5
    item_roots = _sums(profiles, axis=0) ** 0.5
    normalised = sparse.csr_array(_diagonal(1.0 / user_roots) @ profiles @ _diagonal(1.0 / item_roots))
    rows_per_block = max(1, _ROWS_PER_BLOCK // plan.n_chunks)
    with progress.step("graph_filter", (1 + _SVD_PROGRESS_SHARE) * len(items)) as step:
        low_pass = _low_pass(normalised, item_roots, hyperparameters, plan.seed)
        step.advance(_SVD_PROGRESS_SHARE * len(items))
        similarities = _similarities(normalised, item_roots, low_pass, rows_per_block, step)
    coordinates = (items[similarities.row], items[similarities.col])
    all_items = sparse.coo_array((similarities.data, coordinates), shape=(n_items, n_items))
    return TrainNotes(report=write_rows(top_k_per_row(sparse.csr_array(all_items), MAX_NEIGHBOURS), into))


@dataclass(frozen=True)
class _LowPass:
    """low Di^-1/2 V V' Di^1/2 = ``left`` @ ``right``.T, both (items, rank); rank 0 for none."""

    left: Floats
    right: Floats


def _low_pass(
    normalised: sparse.csr_array, item_roots: NDArray[np.floating], hyperparameters: Mapping[str, float], seed: int
) -> _LowPass:
    """The low-pass of the highest rank that _MAX_OPERATIONS allow; none where that is below _MIN_RANK."""
    n_items = len(item_roots)
    rank = int(min(hyperparameters["rank"], _MAX_OPERATIONS // max(1, n_items) ** 2))
    min_rank = min(_MIN_RANK, n_items)
    if min(rank, *shape_of(normalised)) < min_rank or not hyperparameters["low"]:
        nothing = np.zeros((n_items, 0), np.float32)
        return _LowPass(nothing, nothing)
    _, directions = right_singular_vectors(normalised, rank, seed)
    left = (directions / item_roots[:, None]).astype(np.float32)
    right = (directions * item_roots[:, None] * hyperparameters["low"]).astype(np.float32)
    return _LowPass(left, right)


def _similarities(
    normalised: sparse.csr_array,
    item_roots: NDArray[np.floating],
    low_pass: _LowPass,
    rows_per_block: int,
    step: Step,
) -> sparse.coo_array:
    """The MAX_NEIGHBOURS largest values of each row of M."""
    n_items = len(item_roots)
    left = sparse.csr_array(_diagonal(1.0 / item_roots) @ normalised.T)
    right = sparse.csr_array(normalised @ _diagonal(item_roots))
    blocks = []
    for start in range(0, n_items, rows_per_block):
        rows = np.arange(start, min(start + rows_per_block, n_items))
        products = sparse.csr_array(left[rows] @ right)
        block = _add_low_rank(products, low_pass.left[rows], low_pass.right)
        blocks.append(top_k_per_row(block, MAX_NEIGHBOURS))
        step.advance(rows_per_block)
    if not blocks:
        return sparse.coo_array((0, 0))
    return sparse.coo_array(sparse.vstack(blocks, format="coo"))


def _add_low_rank(rows: sparse.csr_array, left: Floats, right: Floats) -> sparse.csr_array:
    """rows + left @ right.T where that is positive, as sparse rows of the MAX_NEIGHBOURS largest."""
    if not right.shape[1]:
        return rows
    dense = left @ right.T
    dense += rows.toarray()
    return top_k_of_dense(dense, MAX_NEIGHBOURS)


def _sums(matrix: sparse.csr_array, axis: int) -> NDArray[np.floating]:
    """Sums of the rows or columns, at least 1e-9."""
    return np.maximum(np.asarray(matrix.sum(axis=axis)).ravel(), 1e-9)


def _diagonal(values: NDArray[np.floating]) -> sparse.dia_array:
    return sparse.diags_array(values.astype(np.float32))
