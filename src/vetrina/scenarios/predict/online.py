"""Answers predict requests: encode, then the classifier that validation chose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.types import Floats
from vetrina.scenarios.predict.encoding import Encoding


class Predict:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=Encoding)
        self.threshold = float(content.get("threshold", 0.5))
        weights: dict[str, float] = content["weights"]["predict"]
        self.chosen = max(weights, key=lambda name: weights[name])
        self._models = {m: plugins.part("models", m, "online").open(folder / m) for m in content["models"]}

    def probability(self, columns: Mapping[str, np.ndarray], only: str | None = None) -> Floats:
        """(rows,) for raw columns."""
        return self._models[only or self.chosen].probability(self.encoding.encode(columns))

    def bins(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[list[int]]:
        """What is logged of the rows; see ``Encoding.bins``."""
        return self.encoding.bins(self.encoding.rows(rows)).tolist() if rows else []

    def answer(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``prediction`` and ``probability`` of each row. Raises BadInput."""
        found = self.probability(self.encoding.rows(rows)) if rows else []
        return [{"prediction": bool(p >= self.threshold), "probability": round(float(p), 6)} for p in found]


def open(folder: Path) -> Predict:
    """Open a bundle's folder."""
    return Predict(folder)
