"""Answers predict requests: encode, then the classifier that validation chose, or the mean of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.protocols import Context
from vetrina.core.types import Floats
from vetrina.features.encoding import Encoding
from vetrina.metrics.threshold import USUAL


def mean(said: Sequence[Floats]) -> Floats:
    """(rows,) of several models' probabilities (rows,)."""
    return np.stack(said).mean(axis=0).astype(np.float32)


class Predict:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=Encoding)
        self.threshold = float(content.get("options", {}).get("threshold", USUAL))
        weights: dict[str, float] = content["weights"]["predict"]
        self.chosen = tuple(name for name in content["models"] if weights.get(name))
        self.models: tuple[str, ...] = tuple(content["models"])
        self._models = {m: plugins.part("models", m, "online").open(folder / m) for m in self.models}

    def probability(self, columns: Mapping[str, np.ndarray], only: str | None = None) -> Floats:
        """(rows,) for raw columns."""
        return mean([*self.said(columns, (only,) if only else self.chosen).values()])

    def said(self, columns: Mapping[str, np.ndarray], models: Sequence[str]) -> dict[str, Floats]:
        """What each of some models says, (rows,) for raw columns."""
        encoded = self.encoding.encode(columns)
        return {name: self._models[name].probability(encoded) for name in models}

    def part(self, model: str) -> Any:
        """An opened model."""
        return self._models[model]

    def bins(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[list[int]]:
        """What is logged of the rows; see ``Encoding.bins``."""
        return self.encoding.bins(self.encoding.rows(rows)).tolist() if rows else []

    def answer(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``prediction`` and ``probability`` of each row. Raises BadInput."""
        found = self.probability(self.encoding.rows(rows)) if rows else []
        return [{"prediction": bool(p >= self.threshold), "probability": round(float(p), 6)} for p in found]

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial: a row of which nothing is known."""
        self.answer([[None] * len(self.encoding.columns)])


def open(folder: Path) -> Predict:
    """Open a bundle's folder."""
    return Predict(folder)
