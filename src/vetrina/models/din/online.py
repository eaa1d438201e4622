"""Encoded rows with what was offered and what was done before it in, expected labels out."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.onnx_session import session
from vetrina.core.tables import Rows
from vetrina.core.types import Floats, Ints

NOTHING = -2  # the kind of an event that is not there


class Classifier:
    """One ONNX file, and the number of each kind."""

    def __init__(self, folder: Path) -> None:
        self._session = session(folder / "network.onnx")
        with np.load(folder / "numbers.npz") as kept:
            self._numbers = [kept[name] for name in kept.files]

    def expected(self, rows: Rows) -> Floats:
        """(rows,) of an encoded table."""
        asked, before = numbered(rows, self._numbers)
        return self._session.run(None, {"dense": rows.dense, "asked": asked, "before": before})[0]


def numbered(rows: Rows, numbers: list[Ints]) -> tuple[Ints, Ints]:
    """(rows, levels) and (rows, events, levels): kinds by their number, 0 for one without, -1 for an event that is not there.

    ``numbers`` holds an array (kinds,) for each level. Rows that know nothing of offers have one level of which nothing is known.
    """
    if rows.asked is None or rows.before is None:
        return np.zeros((len(rows), len(numbers)), np.int32), np.full((len(rows), 1, len(numbers)), -1, np.int32)
    asked = np.stack([_of(rows.asked[:, at], known) for at, known in enumerate(numbers)], 1)
    before = np.stack([_of(rows.before[:, :, at], known) for at, known in enumerate(numbers)], 2)
    before[rows.before[:, :, 0] == NOTHING] = -1
    return asked, before


def _of(kinds: Ints, numbers: Ints) -> NDArray[np.int32]:
    inside = (kinds >= 0) & (kinds < len(numbers))
    return np.where(inside, numbers[np.where(inside, kinds, 0)], 0).astype(np.int32)


def open(folder: Path) -> Classifier:
    """Read what ``train`` wrote."""
    return Classifier(folder)
