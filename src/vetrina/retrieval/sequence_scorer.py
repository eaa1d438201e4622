"""Runs a sequence encoder over the last products and compares its vector with those of all products."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.onnx_session import open_session
from vetrina.core.protocols import History
from vetrina.core.types import Floats
from vetrina.retrieval import quantised_table

N_GAP_CLASSES = 32
# How much flatter than in training the softmax is when it answers: on Amazon Beauty's validation products a blend with two to
# three times the temperature finds more than one with the sharp scores, and alone the order is the same.
TEMPERATURE_FACTOR = 2.5


def gap_classes(times: NDArray[np.float64], is_first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Classes (n,) of the time since the line before: 1 + floor(log2(1 + seconds)), below GAPS.

    0 where ``first`` (n,) and where no time has passed: within a basket, or where only the order is known.
    """
    since = np.maximum(np.diff(times, prepend=times[:1]), 0.0)
    return np.where(
        is_first | (since <= 0), 0, np.minimum(1 + np.log2(1.0 + since).astype(np.int64), N_GAP_CLASSES - 1)
    )


class SequenceScorer:
    """exp((cos(user, product) - the largest) / (SOFTER * temperature)) for all products.

    Float: ``table.npy`` (rows, width). Compressed: a ``packed_table``. Both with ``lengths.npy`` (rows,) of the rows,
    ``taken.npy`` (items,) which products have a row, in their order, and ``settings.json``.
    """

    def __init__(self, folder: Path) -> None:
        taken = np.load(folder / "taken.npy")
        self._rows = np.where(taken, np.cumsum(taken, dtype=np.int32) - 1, -1)
        self._n_items = len(taken)
        self._items_with_row = np.flatnonzero(taken)
        self._inverse_norms = 1.0 / np.load(folder / "lengths.npy")
        chosen = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._temperature = TEMPERATURE_FACTOR * float(chosen["temperature"])
        self._max_recent_items = int(chosen["length"])
        self._table = quantised_table.open_table(folder, "table.npy")
        self._encoder = open_session(folder / "encoder.onnx")

    def score(self, history: History) -> Floats:
        """(items,) float32 in 0..1; 0 for products without a row, and for all without a known product in the history."""
        scores = np.zeros(self._n_items, np.float32)
        known = np.flatnonzero(self._rows[history.items] >= 0)[-self._max_recent_items :]
        if not len(known):
            return scores
        rows = self._rows[history.items[known]]
        times = history.times[known]
        asked = {"items": self._table.vectors(rows)[None], "gaps": gap_classes(times, np.arange(len(times)) == 0)[None]}
        user = self._encoder.run(None, asked)[0][0, -1]
        unit = user / max(float(np.linalg.norm(user)), 1e-9)
        cosine = self._table.inner_products(unit[None])[0] * self._inverse_norms
        scores[self._items_with_row] = np.exp((cosine - cosine.max()) / self._temperature)
        return scores
