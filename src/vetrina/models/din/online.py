"""Click probabilities by DIN in ONNX Runtime, with the category vocabularies."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.onnx_session import open_session
from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.types import Floats, Ints

NO_EVENT = -2  # category of an event that is padding


class DIN:
    """One ONNX file, and the embedding id of each category by level."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "network.onnx")
        with np.load(folder / "vocabularies.npz") as arrays:
            self._vocabularies = [arrays[name] for name in arrays.files]

    def predict(self, rows: EncodedTable) -> Floats:
        """Predicted label (rows,) of an encoded table."""
        candidate_ids, history_ids = embedding_ids(rows, self._vocabularies)
        inputs = {"dense": rows.dense, "candidate": candidate_ids, "history": history_ids}
        return self._session.run(None, inputs)[0]


def embedding_ids(rows: EncodedTable, vocabularies: list[Ints]) -> tuple[Ints, Ints]:
    """Embedding ids of the candidates and of the last events: 0 for a category without its own, -1 for no event.

    Args:
        rows: An encoded table; without candidates all ids are 0, with one event that is padding.
        vocabularies: The embedding id (categories,) of each category, by level.

    Returns:
        Candidate ids (rows, levels) and history ids (rows, events, levels).
    """
    n_levels = len(vocabularies)
    if rows.candidate_levels is None or rows.history_levels is None:
        no_candidates = np.zeros((len(rows), n_levels), np.int32)
        no_events = np.full((len(rows), 1, n_levels), -1, np.int32)
        return no_candidates, no_events
    candidate_ids = []
    history_ids = []
    for level, vocabulary in enumerate(vocabularies):
        candidate_ids.append(_lookup(rows.candidate_levels[:, level], vocabulary))
        history_ids.append(_lookup(rows.history_levels[:, :, level], vocabulary))
    history = np.stack(history_ids, 2)
    history[rows.history_levels[:, :, 0] == NO_EVENT] = -1
    return np.stack(candidate_ids, 1), history


def _lookup(categories: Ints, vocabulary: Ints) -> NDArray[np.int32]:
    """Embedding ids of categories, 0 for those outside the vocabulary."""
    is_known = (categories >= 0) & (categories < len(vocabulary))
    ids = vocabulary[np.where(is_known, categories, 0)]
    return np.where(is_known, ids, 0).astype(np.int32)


def load(folder: Path) -> DIN:
    """Opens what ``train`` or ``compress`` wrote."""
    return DIN(folder)
