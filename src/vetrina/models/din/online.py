"""Encoded rows with what was offered and what was done before it in, expected labels out."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats, Ints

NO_EVENT = -2  # the kind of an event that is not there


class DIN:
    """One ONNX file, and the number of each kind."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "network.onnx")
        with np.load(folder / "numbers.npz") as kept:
            self._vocabularies = [kept[name] for name in kept.files]

    def predict(self, rows: EncodedTable) -> Floats:
        """(rows,) of an encoded table."""
        asked, before = embedding_ids(rows, self._vocabularies)
        return self._session.run(None, {"dense": rows.dense, "asked": asked, "before": before})[0]


def embedding_ids(rows: EncodedTable, vocabularies: list[Ints]) -> tuple[Ints, Ints]:
    """(rows, levels) and (rows, events, levels): kinds by their number, 0 for one without, -1 for an event that is not there.

    ``numbers`` holds an array (kinds,) for each level. Rows that know nothing of offers have one level of which nothing is known.
    """
    if rows.candidate_levels is None or rows.history_levels is None:
        return np.zeros((len(rows), len(vocabularies)), np.int32), np.full(
            (len(rows), 1, len(vocabularies)), -1, np.int32
        )
    asked = np.stack([_lookup(rows.candidate_levels[:, at], known) for at, known in enumerate(vocabularies)], 1)
    before = np.stack([_lookup(rows.history_levels[:, :, at], known) for at, known in enumerate(vocabularies)], 2)
    before[rows.history_levels[:, :, 0] == NO_EVENT] = -1
    return asked, before


def _lookup(kinds: Ints, numbers: Ints) -> NDArray[np.int32]:
    inside = (kinds >= 0) & (kinds < len(numbers))
    return np.where(inside, numbers[np.where(inside, kinds, 0)], 0).astype(np.int32)


def load(folder: Path) -> DIN:
    """Read what ``train`` wrote."""
    return DIN(folder)
