"""Answers predict requests: encode, then the model that validation chose, or the mean of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.protocols import Context
from vetrina.core.types import Floats
from vetrina.features.encoding import Encoding
from vetrina.metrics import calibration, field_calibration
from vetrina.metrics.threshold import USUAL


def mean(said: Sequence[Floats]) -> Floats:
    """(rows,) of several models' expected labels (rows,)."""
    return np.stack(said).mean(axis=0).astype(np.float32)


class Predict:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=Encoding)
        options: dict[str, Any] = content["options"]
        self.threshold = float(options.get("threshold", USUAL))
        self.calibration = calibration.of_options(options.get("calibration"))
        self.field = field_calibration.of_options(options.get("field"))
        self.error: float | None = options.get("error")  # of a number, its RMSE in validation
        weights: dict[str, float] = content["weights"]["predict"]
        self.chosen = tuple(name for name in content["models"] if weights.get(name))
        self.models: tuple[str, ...] = tuple(content["models"])
        self._models = {m: plugins.part("models", m, "online").open(folder / m) for m in self.models}

    def expected(self, columns: Mapping[str, np.ndarray], only: str | None = None) -> Floats:
        """(rows,) for raw columns, as ``Encoding.truth`` gives labels: calibrated, but of one model as it says itself."""
        said = mean([*self.said(columns, (only,) if only else self.chosen).values()])
        return said if only else self.field.of(self.calibration.of(said), columns)

    def said(self, columns: Mapping[str, np.ndarray], models: Sequence[str]) -> dict[str, Floats]:
        """What each of some models says, (rows,) for raw columns."""
        encoded = self.encoding.encode(columns)
        return {name: self._models[name].expected(encoded) for name in models}

    def part(self, model: str) -> Any:
        """An opened model."""
        return self._models[model]

    def bins(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[list[int]]:
        """What is logged of the rows; see ``Encoding.bins``."""
        return self.encoding.bins(self.encoding.rows(rows)).tolist() if rows else []

    def answer(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``prediction`` of each row, and its ``probability`` where that is a yes or no. Raises BadInput."""
        found = self.expected(self.encoding.rows(rows)) if rows else np.empty(0, np.float32)
        if self.encoding.number is not None:
            return [{"prediction": float(f"{value:.6g}")} for value in self.encoding.number.meant(found).tolist()]
        return [{"prediction": bool(p >= self.threshold), "probability": round(float(p), 6)} for p in found]

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial: a row of which nothing is known."""
        self.try_out_rows(1)

    def try_out_rows(self, many: int) -> None:
        """Answer so many rows at once."""
        self.answer([[None] * len(self.encoding.columns)] * many)


def open(folder: Path) -> Predict:
    """Open a bundle's folder."""
    return Predict(folder)
