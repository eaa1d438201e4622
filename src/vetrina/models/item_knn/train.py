"""Directed co-occurrence, and products alike by their properties where behaviour says little.

sim[a, b] = c[a, b] / (n_a ** out_power * n_b ** in_power) + like * s * cos[a, b] * (n_b + 1) ** LIKE_POWER

with c of ``layers.cooccurrence``, n the number of a product's events by weight, cos the cosine of properties
(``layers.item_tokens``) and s what makes both terms' largest values of a row equal on average. The NEIGHBOURS best of each
row and term stay, of a product of fewer than KNOWN events the FEW best. ``decay`` and ``fade`` are what a step back in time
costs: where a user takes ten products at once, each of them is a tenth of a step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.layers.item_tokens import item_token_matrix, tfidf
from vetrina.layers.sparse_rows import save, shape_of, top_k_per_row

HYPERPARAMETERS = {
    "window": 20,
    "decay": 0.8,
    "back": 0.4,
    "out_power": 0.35,
    "in_power": 0.2,
    "like": 0.5,
    "fade": 0.6,
}
SEARCH_SPACE = {
    "decay": (0.6, 0.95),
    "back": (0.0, 1.0),
    "out_power": (0.1, 0.6),
    "in_power": (0.0, 0.5),
    "like": (0.0, 1.0),
    "fade": (0.3, 0.98),
}
MAX_NEIGHBOURS = 100
SIMILARITY_POPULARITY_POWER = 0.25
# most products of a long catalogue say so little that half as many are worth as much
MAX_COLD_NEIGHBOURS = 50
MIN_WARM_EVENTS = 5
MAX_ITEMS_WITH_TITLE_WORDS = 30_000  # products; beyond, their words take longer to compare than they are worth
_ROWS_PER_BLOCK = 2_000


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the rows of sim, best first in a row, and ``settings.json`` for scoring."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("item_knn needs a catalogue and events")
    chosen = plan.hyperparameters_of("item_knn", HYPERPARAMETERS)
    items = len(training_data.catalogue)
    events = training_data.interactions
    lines = max(1.0, len(events) / max(1, events.n_user_timestamps))
    chosen |= {name: chosen[name] ** (1.0 / lines) for name in ("decay", "fade")}
    with progress.step("item_knn", 2) as step:
        counts = cooccurrence(
            events, items, window=int(chosen["window"]), decay=chosen["decay"], backward_weight=chosen["back"]
        )  # fmt: skip
        # As many as if every event were of the usual kind, so that a log of clicks counts like one of purchases.
        usual = max(float(events.weight.mean()), 1e-9)
        weight = np.bincount(events.item, events.weight / usual, minlength=items).astype(np.float64)
        rows = top_k_per_row(_normalise_counts(counts, weight, chosen["out_power"], chosen["in_power"]), MAX_NEIGHBOURS)
        step.advance()
        if chosen["like"]:
            tokens, _ = item_token_matrix(training_data.catalogue, with_title_words=items <= MAX_ITEMS_WITH_TITLE_WORDS)
            alike = nearest_items(
                tfidf(tokens), (weight + 1.0) ** SIMILARITY_POPULARITY_POWER, max(1, _ROWS_PER_BLOCK // plan.n_chunks)
            )
            rows = sparse.csr_array(rows + chosen["like"] * _mean_row_maximum(rows) / _mean_row_maximum(alike) * alike)
        step.advance()
    (into / "settings.json").write_bytes(msgspec.json.encode(chosen))
    known = np.bincount(events.item, minlength=items) >= MIN_WARM_EVENTS
    return save(top_k_per_row(rows, np.where(known, MAX_NEIGHBOURS, MAX_COLD_NEIGHBOURS)), into)


def nearest_items(
    unit_rows: sparse.csr_array, item_weights: NDArray[np.float64], rows_per_block: int
) -> sparse.csr_array:
    """(items, items) the NEIGHBOURS largest of each row of unit @ unit.T * worth, without the product itself."""
    columns = sparse.csr_array(unit_rows.T)
    rows = shape_of(unit_rows)[0]
    found = []
    scale = sparse.diags_array(item_weights.astype(np.float32))
    for start in range(0, rows, rows_per_block):
        part = sparse.csr_array(unit_rows[np.arange(start, min(start + rows_per_block, rows))] @ columns @ scale)
        row = start + np.repeat(np.arange(shape_of(part)[0]), np.diff(part.indptr))
        part.data[row == part.indices] = 0.0
        part.eliminate_zeros()
        found.append(top_k_per_row(part, MAX_NEIGHBOURS))
    return sparse.csr_array(sparse.vstack(found, format="csr"))


def _normalise_counts(
    counts: sparse.csr_array, weight: NDArray[np.float64], out: float, into: float
) -> sparse.csr_array:
    base = np.maximum(weight, 1.0)
    return sparse.csr_array(sparse.diags_array(base**-out) @ counts @ sparse.diags_array(base**-into))


def _mean_row_maximum(rows: sparse.csr_array) -> float:
    """Mean of the largest value of the rows that have one."""
    largest = rows.max(axis=1).toarray().ravel()
    return float(largest[largest > 0].mean()) if (largest > 0).any() else 1.0
