"""Product vectors to start from: what is taken together lies together before the first step of training.

Left and right factors of the positive pointwise mutual information of co-occurrences (Levy & Goldberg 2014), by a truncated
singular value decomposition: U sqrt(S).
"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from vetrina.core.types import Floats, Interactions
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.layers.sparse_rows import shape_of
from vetrina.layers.truncated_svd import right_singular_vectors

_WINDOW = 20
_DECAY = 0.8


def ppmi_vectors(
    events: Interactions, rows: np.ndarray, n_rows: int, width: int, seed: int, window: int = _WINDOW
) -> Floats:
    """(count, width) with a standard deviation of 1; ``rows`` (n,) says which of them each event is about."""
    counts = cooccurrence(
        replace(events, item=rows.astype(np.int32)), n_rows, window=window, decay=_DECAY, backward_weight=1.0
    )  # fmt: skip
    values, found = right_singular_vectors(positive_mutual_information(counts), width, seed)
    start = found * np.sqrt(values)
    wide = np.zeros((n_rows, width), np.float32)
    wide[:, : start.shape[1]] = start / max(float(start.std()), 1e-9)
    return wide


def positive_mutual_information(counts: sparse.csr_array) -> sparse.csr_array:
    """max(0, log(c_ab * total / (c_a * c_b))) where c_ab > 0; ``counts`` is symmetric."""
    of = np.asarray(counts.sum(axis=1), np.float64).ravel()
    row = np.repeat(np.arange(shape_of(counts)[0]), np.diff(counts.indptr))
    value = np.log(np.maximum(counts.data * of.sum() / (of[row] * of[counts.indices]), 1.0))
    found = sparse.csr_array((value.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)
    found.eliminate_zeros()
    return found
