"""Next-item scores by a sequence encoder in ONNX Runtime: cosine of the user vector with all item vectors."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.onnx_session import open_session
from vetrina.bundle.quantised_table.read import open_table
from vetrina.core.protocols import History
from vetrina.core.types import Floats

N_GAP_CLASSES = 32
# Of the training temperature: on Amazon Beauty's validation data a blend is better with scores at two to three times the
# temperature than with the sharper ones, and alone the order is the same.
TEMPERATURE_FACTOR = 2.5


def gap_classes(times: NDArray[np.float64], is_first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return classes (n,) of the time seconds the event before: 1 + floor(log2(1 + seconds)), below N_GAP_CLASSES.

    0 where ``is_first`` (n,) and where no time has passed: within a basket, or where only the order is known.
    """
    seconds = np.maximum(np.diff(times, prepend=times[:1]), 0.0)
    return np.where(
        is_first | (seconds <= 0), 0, np.minimum(1 + np.log2(1.0 + seconds).astype(np.int64), N_GAP_CLASSES - 1)
    )


class SequenceScorer:
    """Scores exp((cos(user, item) - the largest) / (TEMPERATURE_FACTOR * temperature)) of all items."""

    def __init__(self, folder: Path) -> None:
        has_row = np.load(folder / "has_row.npy")
        self._rows = np.where(has_row, np.cumsum(has_row, dtype=np.int32) - 1, -1)
        self._n_items = len(has_row)
        self._items_with_row = np.flatnonzero(has_row)
        self._inverse_norms = 1.0 / np.load(folder / "norms.npy")
        hyperparameters = msgspec.json.decode((folder / "settings.json").read_bytes())
        self._temperature = TEMPERATURE_FACTOR * float(hyperparameters["temperature"])
        self._max_recent_items = int(hyperparameters["length"])
        self._table = open_table(folder, "table.npy")
        self._encoder = open_session(folder / "encoder.onnx")

    def score(self, history: History) -> Floats:
        """Return scores (items,) float32 in 0..1; 0 for items without a row, and for all if no item of the history has one."""
        scores = np.zeros(self._n_items, np.float32)
        events_with_row = np.flatnonzero(self._rows[history.items] >= 0)[-self._max_recent_items :]
        if not len(events_with_row):
            return scores
        rows = self._rows[history.items[events_with_row]]
        times = history.times[events_with_row]
        inputs = {
            "items": self._table.vectors(rows)[None],
            "gaps": gap_classes(times, np.arange(len(times)) == 0)[None],
        }
        user = self._encoder.run(None, inputs)[0][0, -1]
        unit = user / max(float(np.linalg.norm(user)), 1e-9)
        cosine = self._table.inner_products(unit[None])[0] * self._inverse_norms
        scores[self._items_with_row] = np.exp((cosine - cosine.max()) / self._temperature)
        return scores
