"""Opens the networks of bundles up to 0.1.0: products of vectors with a bias, no gaps in time."""

from pathlib import Path

import numpy as np

from vetrina.core.onnx_session import session
from vetrina.core.protocols import History
from vetrina.core.types import Floats

LENGTH = 64


class WithBias:
    """Float: ``table.npy`` times the user vector. Compressed: int8 rows with ``scales.npy``, multiplied in ``score.onnx``."""

    def __init__(self, folder: Path) -> None:
        rows = np.load(folder / "rows.npy", mmap_mode="r")
        self._rows = rows
        self._items = len(rows)
        self._taken = np.flatnonzero(rows >= 0)
        self._table = np.load(folder / "table.npy", mmap_mode="r")
        self._bias = np.load(folder / "bias.npy", mmap_mode="r")
        scales = folder / "scales.npy"
        self._scales = np.load(scales) if scales.exists() else None
        self._encoder = session(folder / "encoder.onnx")
        self._score = session(folder / "score.onnx") if self._scales is not None else None

    def score(self, history: History) -> Floats:
        """(items,) float32: the softmax over all products after the last items, its largest value 1; 0 without history."""
        scores = np.zeros(self._items, np.float32)
        rows = self._rows[history.items[-LENGTH:]]
        rows = rows[rows >= 0]
        if not len(rows):
            return scores
        user = self._encoder.run(None, {"items": self._vectors(rows)[None]})[0][0, -1]
        logits = self._logits(user) + self._bias
        scores[self._taken] = np.exp(logits - logits.max())
        return scores

    def _vectors(self, rows: np.ndarray) -> Floats:
        vectors = self._table[rows].astype(np.float32)
        return vectors if self._scales is None else vectors * self._scales[rows, None]

    def _logits(self, user: Floats) -> Floats:
        if self._score is None:
            return self._table @ user
        return self._score.run(None, {"user": user[None]})[0][0]
