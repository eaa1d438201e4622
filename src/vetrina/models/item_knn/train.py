"""Item-kNN: directed co-occurrence, with content similarity for items of few events.

sim[a, b] = c[a, b] / (n_a ** out_power * n_b ** in_power)
          + like * s * cos[a, b] * (n_b + 1) ** SIMILARITY_POPULARITY_POWER

with c of ``data.cooccurrence``, n the number of a product's events by weight, cos the cosine of properties
(``data.item_tokens``) and s what makes both terms' largest values of a row equal on average. The MAX_NEIGHBOURS
largest of each row and term are stored, MAX_COLD_NEIGHBOURS for a product of fewer than MIN_WARM_EVENTS events.
``newest_events`` limits co-occurrence to that many of the newest events, 0 to none.
``decay`` (in training) and ``fade`` (in scoring) are the factors of one step back in time: where a user takes ten
products at once, each of them is a tenth of a step.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.bundle.sparse_rows.write import write_rows
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Interactions, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.cooccurrence import cooccurrence
from vetrina.data.item_tokens import item_token_matrix, tfidf
from vetrina.data.sparse_matrix import shape_of, top_k_per_row
from vetrina.models.item_knn.model import MODEL

MAX_NEIGHBOURS = 100
SIMILARITY_POPULARITY_POWER = 0.25
MAX_COLD_NEIGHBOURS = 50  # of a product of few events; in a long catalogue most are, and half as many are as good
MIN_WARM_EVENTS = 5
MAX_ITEMS_WITH_TITLE_WORDS = 30_000  # products; comparing the title words of more takes too long for what it adds
_ROWS_PER_BLOCK = 2_000  # rows of similarities at once, to bound memory


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the largest values of each row of sim, best first, and ``settings.json`` for scoring.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Hyper-parameters, and into how many chunks the work is cut.
        into: The output folder.
        progress: Reports the two terms.

    Returns:
        The report of ``write_rows``.
    """
    catalogue = training_data.catalogue
    events = training_data.interactions
    if catalogue is None or events is None:
        raise ValueError("item_knn needs a catalogue and events")
    hyperparameters = MODEL.hyperparameters_in(plan)
    items_per_timestamp = max(1.0, len(events) / max(1, events.n_user_timestamps))
    for name in ("decay", "fade"):
        hyperparameters[name] = hyperparameters[name] ** (1.0 / items_per_timestamp)
    with progress.step("item_knn", 2) as step:
        event_weights = _event_weights(events, len(catalogue))
        rows = _cooccurrence_rows(
            _newest(events, int(hyperparameters["newest_events"])), event_weights, hyperparameters
        )
        step.advance()
        if hyperparameters["like"]:
            similar = _content_rows(catalogue, event_weights, max(1, _ROWS_PER_BLOCK // plan.n_chunks))
            scale = hyperparameters["like"] * _mean_row_maximum(rows) / _mean_row_maximum(similar)
            rows = sparse.csr_array(rows + scale * similar)
        step.advance()
    (into / "settings.json").write_bytes(msgspec.json.encode(hyperparameters))
    event_counts = np.bincount(events.item, minlength=len(catalogue))
    n_neighbours = np.where(event_counts >= MIN_WARM_EVENTS, MAX_NEIGHBOURS, MAX_COLD_NEIGHBOURS)
    return TrainNotes(report=write_rows(top_k_per_row(rows, n_neighbours), into))


def _newest(events: Interactions, n_events: int) -> Interactions:
    """The ``n_events`` newest events, oldest first; all of them for 0."""
    if not n_events or len(events) <= n_events:
        return events
    return replace(
        events,
        user=events.user[-n_events:],
        item=events.item[-n_events:],
        time=events.time[-n_events:],
        weight=events.weight[-n_events:],
    )


def _event_weights(events: Interactions, n_items: int) -> NDArray[np.float64]:
    """Sum of event weights (items,) relative to the mean weight, so that a log of clicks counts like purchases."""
    mean_weight = max(float(events.weight.mean()), 1e-9)
    sums = np.bincount(events.item, events.weight / mean_weight, minlength=n_items)
    return sums.astype(np.float64)


def _cooccurrence_rows(
    events: Interactions, event_weights: NDArray[np.float64], hyperparameters: Mapping[str, float]
) -> sparse.csr_array:
    """The MAX_NEIGHBOURS largest of each row of the first term."""
    counts = cooccurrence(
        events,
        len(event_weights),
        window=int(hyperparameters["window"]),
        decay=hyperparameters["decay"],
        backward_weight=hyperparameters["back"],
    )
    base = np.maximum(event_weights, 1.0)
    out_scale = sparse.diags_array(base ** -hyperparameters["out_power"])
    in_scale = sparse.diags_array(base ** -hyperparameters["in_power"])
    normalised = sparse.csr_array(out_scale @ counts @ in_scale)
    return top_k_per_row(normalised, MAX_NEIGHBOURS)


def _content_rows(catalogue: Catalogue, event_weights: NDArray[np.float64], rows_per_block: int) -> sparse.csr_array:
    """The MAX_NEIGHBOURS largest of each row of the second term, without its factors ``like`` and s."""
    with_title_words = len(catalogue) <= MAX_ITEMS_WITH_TITLE_WORDS
    tokens, _ = item_token_matrix(catalogue, with_title_words=with_title_words)
    popularity = (event_weights + 1.0) ** SIMILARITY_POPULARITY_POWER
    return nearest_items(tfidf(tokens), popularity, rows_per_block)


def nearest_items(
    unit_rows: sparse.csr_array, item_weights: NDArray[np.float64], rows_per_block: int
) -> sparse.csr_array:
    """The MAX_NEIGHBOURS largest of each row of unit_rows @ unit_rows.T * item_weights, without the product itself.

    Args:
        unit_rows: Sparse rows of length 1 (items, tokens).
        item_weights: Weight of each column (items,).
        rows_per_block: Rows at once, to bound memory.

    Returns:
        (items, items).
    """
    columns = sparse.csr_array(unit_rows.T)
    n_items = shape_of(unit_rows)[0]
    scale = sparse.diags_array(item_weights.astype(np.float32))
    blocks = []
    for start in range(0, n_items, rows_per_block):
        rows = np.arange(start, min(start + rows_per_block, n_items))
        similarities = sparse.csr_array(unit_rows[rows] @ columns @ scale)
        row_of_value = np.repeat(rows, np.diff(similarities.indptr))
        similarities.data[row_of_value == similarities.indices] = 0.0
        similarities.eliminate_zeros()
        blocks.append(top_k_per_row(similarities, MAX_NEIGHBOURS))
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _mean_row_maximum(rows: sparse.csr_array) -> float:
    """Mean of the largest value of the rows that have a positive one, 1 where there is none."""
    largest = rows.max(axis=1).toarray().ravel()
    positive = largest[largest > 0]
    if not len(positive):
        return 1.0
    return float(positive.mean())
