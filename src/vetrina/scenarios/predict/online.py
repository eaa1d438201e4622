"""Answers predict requests: encode, then the model that validation chose, or the mean of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.protocols import Context
from vetrina.core.types import Floats
from vetrina.features.table_encoding import TableEncoding
from vetrina.metrics import calibration, field_calibration
from vetrina.metrics.threshold import DEFAULT_THRESHOLD


def mean_prediction(predictions: Sequence[Floats]) -> Floats:
    """(rows,) of several models' expected labels (rows,)."""
    return np.stack(predictions).mean(axis=0).astype(np.float32)


class Predictor:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=TableEncoding)
        options: dict[str, Any] = content["options"]
        self.threshold = float(options.get("threshold", DEFAULT_THRESHOLD))
        self.calibration = calibration.from_options(options.get("calibration"))
        self.field_calibration = field_calibration.from_options(options.get("field"))
        self.rmse: float | None = options.get("error")  # of a number, its RMSE in validation
        weights: dict[str, float] = content["weights"]["predict"]
        self.active_models = tuple(name for name in content["models"] if weights.get(name))
        self.models: tuple[str, ...] = tuple(content["models"])
        self._models = {m: plugins.load_module("models", m, "online").load(folder / m) for m in self.models}

    def predict(self, columns: Mapping[str, np.ndarray], only_model: str | None = None) -> Floats:
        """(rows,) for raw columns, as ``Encoding.truth`` gives labels: calibrated, but of one model as it says itself."""
        said = mean_prediction(
            [*self.predictions_by_model(columns, (only_model,) if only_model else self.active_models).values()]
        )
        return said if only_model else self.field_calibration.transform(self.calibration.transform(said), columns)

    def predictions_by_model(self, columns: Mapping[str, np.ndarray], models: Sequence[str]) -> dict[str, Floats]:
        """What each of some models says, (rows,) for raw columns."""
        encoded = self.encoding.encode(columns)
        return {name: self._models[name].predict(encoded) for name in models}

    def model(self, name: str) -> Any:
        """An opened model."""
        return self._models[name]

    def bins(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[list[int]]:
        """What is logged of the rows; see ``Encoding.bins``."""
        return self.encoding.bins(self.encoding.columns_from_rows(rows)).tolist() if rows else []

    def answer(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``prediction`` of each row, and its ``probability`` where that is a yes or no. Raises BadInput."""
        found = self.predict(self.encoding.columns_from_rows(rows)) if rows else np.empty(0, np.float32)
        if self.encoding.number is not None:
            return [
                {"prediction": float(f"{value:.6g}")}
                for value in self.encoding.number.inverse_transform(found).tolist()
            ]
        return [{"prediction": bool(p >= self.threshold), "probability": round(float(p), 6)} for p in found]

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial: a row of which nothing is known."""
        self.answer_probe_rows(1)

    def answer_probe_rows(self, n_rows: int) -> None:
        """Answer so many rows at once."""
        self.answer([[None] * len(self.encoding.columns)] * n_rows)


def load(folder: Path) -> Predictor:
    """Open a bundle's folder."""
    return Predictor(folder)
