"""A linear graph filter and its ideal low-pass (GF-CF, Shen et al. 2021), both in closed form.

R = Du^-1/2 X Di^-1/2 with X of ``layers.interaction_matrix`` and D the sums of its rows and columns;
M = Di^-1/2 (R'R + low V V') Di^1/2, V the right singular vectors of the ``rank`` largest singular values of R; score(u) = x_u M.
The NEIGHBOURS best of each row of M stay: on Gowalla they are worth all of them. `item_knn` sees what follows what; this
sees what belongs together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan
from vetrina.layers.interaction_matrix import interaction_matrix
from vetrina.layers.sparse_rows import save, shape_of, top_k_per_row
from vetrina.layers.truncated_svd import right_singular_vectors

MAX_NEIGHBOURS = 100
MIN_EVENTS = 5
HYPERPARAMETERS = {"rank": 1_000, "low": 0.4}
_ROWS_PER_BLOCK, _MAX_OPERATIONS, _MIN_RANK = (
    1_000,
    1e12,
    256,
)  # a product of matrices is worth a CPU-minute; a lower rank only blurs


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the rows of M, best first in a row."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("graph_filter needs a catalogue and events")
    chosen = plan.hyperparameters_of("graph_filter", HYPERPARAMETERS)
    items = len(training_data.catalogue)
    often = np.flatnonzero(np.bincount(training_data.interactions.item, minlength=items) >= MIN_EVENTS)
    taste = sparse.csr_array(interaction_matrix(training_data.interactions, items)[:, often])
    of_users, of_items = (np.maximum(np.asarray(taste.sum(axis=a)).ravel(), 1e-9) ** 0.5 for a in (1, 0))
    filtered = sparse.csr_array(_diagonal(1.0 / of_users) @ taste @ _diagonal(1.0 / of_items))
    rank = int(min(chosen["rank"], _MAX_OPERATIONS // max(1, len(often)) ** 2))
    left: Floats = np.zeros((len(often), 0), np.float32)
    right: Floats = left
    with progress.step("graph_filter", 1.5 * len(often)) as step:
        if min(rank, *shape_of(filtered)) >= min(_MIN_RANK, len(often)) and chosen["low"]:
            _, found = right_singular_vectors(filtered, rank, plan.seed)
            left = (found / of_items[:, None]).astype(np.float32)
            right = (found * of_items[:, None] * chosen["low"]).astype(np.float32)
        step.advance(0.5 * len(often))
        columns = sparse.csr_array(_diagonal(1.0 / of_items) @ filtered.T)
        onward = sparse.csr_array(filtered @ _diagonal(of_items))
        blocks = []
        size = max(1, _ROWS_PER_BLOCK // plan.n_chunks)
        for start in range(0, len(often), size):
            rows = np.arange(start, min(start + size, len(often)))
            sums = sparse.csr_array(columns[rows] @ onward)
            blocks.append(top_k_per_row(_add_low_rank(sums, left[rows], right), MAX_NEIGHBOURS))
            step.advance(size)
    found = sparse.coo_array(sparse.vstack(blocks, format="coo")) if blocks else sparse.coo_array((0, 0))
    whole = sparse.coo_array((found.data, (often[found.row], often[found.col])), shape=(items, items))
    return save(top_k_per_row(sparse.csr_array(whole), MAX_NEIGHBOURS), into)


def _add_low_rank(sums: sparse.csr_array, left: Floats, right: Floats) -> sparse.csr_array:
    """sums + left @ right.T where that is above 0, as sparse rows of the NEIGHBOURS largest."""
    if not right.shape[1]:
        return sums
    dense = left @ right.T
    dense += sums.toarray()
    k = min(MAX_NEIGHBOURS, dense.shape[1])
    columns = np.argpartition(-dense, k - 1, axis=1)[:, :k]
    values = np.maximum(np.take_along_axis(dense, columns, 1), 0.0)
    found = sparse.csr_array((values.ravel(), columns.ravel(), np.arange(0, values.size + 1, k)), shape=dense.shape)
    found.eliminate_zeros()
    return found


def _diagonal(values: NDArray[np.floating]) -> sparse.dia_array:
    return sparse.diags_array(values.astype(np.float32))
