"""Initial item embeddings: factors of the positive pointwise mutual information of co-occurrences (Levy and Goldberg 2014).

Items that are taken together are close to each other before the first step of training. The factors are U sqrt(S) of a
truncated singular value decomposition.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from vetrina.core.types import Floats, Interactions
from vetrina.data.cooccurrence import cooccurrence
from vetrina.data.sparse_matrix import shape_of
from vetrina.data.truncated_svd import right_singular_vectors

_WINDOW = 20  # largest distance of two events that co-occur
_DECAY = 0.8


def ppmi_vectors(
    events: Interactions, rows: np.ndarray, n_rows: int, width: int, seed: int, window: int = _WINDOW
) -> Floats:
    """Return initial vectors (n_rows, width) with a standard deviation of 1.

    Args:
        events: All events of the log.
        rows: (events,) row of each event's item.
        n_rows: Number of rows.
        width: Dimension of the vectors.
        seed: Seed of the decomposition.
        window: Largest distance of two events that co-occur.
    """
    events_by_row = replace(events, item=rows.astype(np.int32))
    counts = cooccurrence(events_by_row, n_rows, window=window, decay=_DECAY, backward_weight=1.0)
    singular_values, singular_vectors = right_singular_vectors(positive_mutual_information(counts), width, seed)
    factors = singular_vectors * np.sqrt(singular_values)
    vectors = np.zeros((n_rows, width), np.float32)
    vectors[:, : factors.shape[1]] = factors / max(float(factors.std()), 1e-9)
    return vectors


def positive_mutual_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Return max(0, log(c_ab * total / (c_a * c_b))) where c_ab > 0; ``counts`` is symmetric."""
    item_counts = np.asarray(counts.sum(axis=1), np.float64).ravel()
    n_rows, _ = shape_of(counts)
    row = np.repeat(np.arange(n_rows), np.diff(counts.indptr))
    expected = item_counts[row] * item_counts[counts.indices]
    ratio = counts.data * item_counts.sum() / expected
    values = np.log(np.maximum(ratio, 1.0)).astype(np.float32)
    information = sparse.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    information.eliminate_zeros()
    return information
