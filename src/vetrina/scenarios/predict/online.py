"""Predict at serving time: encoding, the selected model or the weighted mean of several, calibration, threshold.

No training library is imported here.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core.protocols import Context
from vetrina.core.types import Floats
from vetrina.features.table_encoding import TableEncoding
from vetrina.model_selection import calibration, field_calibration
from vetrina.model_selection.ensemble_weights import weighted_mean
from vetrina.model_selection.threshold import DEFAULT_THRESHOLD
from vetrina.models.base import find_model
from vetrina.scenarios.base import PredictionBundle
from vetrina.scenarios.predict.rules import split_conditions


class Predictor(PredictionBundle):
    """A loaded bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=TableEncoding)
        options: dict[str, Any] = content["options"]
        self.threshold = float(options.get("threshold", DEFAULT_THRESHOLD))
        self.calibration = calibration.from_options(options.get("calibration"))
        self.field_calibration = field_calibration.from_options(options.get("field"))
        self.rmse: float | None = options.get("error")  # of a numeric label, on validation data
        self.weights: dict[str, float] = content["weights"]["predict"]
        self.models: tuple[str, ...] = tuple(content["models"])
        self.active_models = tuple(name for name in self.models if self.weights.get(name))
        self._models = {}
        for name in self.models:
            self._models[name] = find_model(name).load(folder / name)

    def predict(self, columns: Mapping[str, np.ndarray], only_model: str | None = None) -> Floats:
        """(rows,) calibrated probabilities, or numbers in standard units of the label.

        Args:
            columns: raw columns, each (rows,).
            only_model: this model's prediction, without calibration.
        """
        if only_model:
            return self.predictions_by_model(columns, (only_model,))[only_model]
        prediction = weighted_mean(self.predictions_by_model(columns, self.active_models), self.weights)
        return self.field_calibration.transform(self.calibration.transform(prediction), columns)

    def predictions_by_model(self, columns: Mapping[str, np.ndarray], models: Sequence[str]) -> dict[str, Floats]:
        """(rows,) prediction of each of ``models`` for raw columns, without calibration."""
        encoded = self.encoding.encode(columns)
        return {name: self._models[name].predict(encoded) for name in models}

    def rules(self) -> str:
        """The rules of a decision tree in words; empty for a version with any other model."""
        if self.active_models != ("tree",):
            return ""
        tree = self._models["tree"]
        conditions = partial(split_conditions, self.encoding)
        scaler = self.encoding.number
        if scaler is None:
            lines = tree.export_text(conditions)
        else:

            def format_value(scaled: float) -> str:
                return f"{float(scaler.inverse_transform(np.array(scaled))):.4g}"

            lines = tree.export_text(conditions, format_value)
        return "\n".join(lines)

    def bins(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[list[int]]:
        """For each row the bins of its values, which are logged instead of the values; see ``TableEncoding.bins``."""
        if not rows:
            return []
        return self.encoding.bins(self.encoding.columns_from_rows(rows)).tolist()

    def answer(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``prediction`` of each row, and its ``probability`` where the label is yes or no.

        Raises:
            BadInput: a row has too few or too many values, or a column of an unknown name.
        """
        predictions = np.empty(0, np.float32)
        if rows:
            predictions = self.predict(self.encoding.columns_from_rows(rows))
        scaler = self.encoding.number
        if scaler is not None:
            values = scaler.inverse_transform(predictions).tolist()
            return [{"prediction": float(f"{value:.6g}")} for value in values]
        answers = []
        for probability in predictions:
            is_positive = bool(probability >= self.threshold)
            answers.append({"prediction": is_positive, "probability": round(float(probability), 6)})
        return answers

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe: a row of missing values."""
        self.answer_probe_rows(1)

    def answer_probe_rows(self, n_rows: int) -> None:
        """Answer one request with ``n_rows`` rows of missing values."""
        row = [None] * len(self.encoding.columns)
        self.answer([row] * n_rows)
